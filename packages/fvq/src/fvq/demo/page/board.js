// Draws a board: pictures side by side on which the same cell is marked in all while the mouse is over one of them.
// `element`, `props`, `trigger` and `watch` are given by gradio's HTML component.
const SVG = 'http://www.w3.org/2000/svg';
let chosen = null;

function make(name, parent, attributes = {}, text = '') {
  const made = name === 'svg' || name === 'path' ? document.createElementNS(SVG, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text) made.textContent = text;
  parent.appendChild(made);
  return made;
}

function build() {
  const root = element.querySelector('.fvq-board');
  const value = props.value;
  if (!root) return;
  root.replaceChildren();
  chosen = null;
  if (!value || !value.panels) return;
  const plane = value.plane;
  const overlays = [];
  const users = new Map();
  if (plane) plane.codes.forEach((code, cell) => (users.get(code) || users.set(code, []).get(code)).push(cell));
  const outlines = new Map();
  let marked = null;
  let tip = null;

  const outline = (cells) => cells.map((cell) => {
    const row = Math.floor(cell / plane.columns);
    return `M${cell % plane.columns} ${row}h1v1h-1z`;
  }).join('');
  const uses = (code) => {
    // All of the picture but these cells, which is darkened.
    if (!outlines.has(code)) {
      outlines.set(code, `M0 0h${plane.columns}v${plane.rows}h-${plane.columns}z${outline(users.get(code))}`);
    }
    return outlines.get(code);
  };
  const mark = (cell) => {
    if (cell === marked) return;
    marked = cell;
    for (const { same, own } of overlays) {
      same.setAttribute('d', cell === null ? '' : uses(plane.codes[cell]));
      own.setAttribute('d', cell === null ? '' : outline([cell]));
    }
    if (cell === null) { tip.textContent = tip.dataset.idle; return; }
    const count = users.get(plane.codes[cell]).length;
    const place = plane.on_image
      ? `row ${Math.floor(cell / plane.columns) + 1}, column ${(cell % plane.columns) + 1}` : `token ${cell + 1}`;
    tip.textContent = `${place}: code ${plane.codes[cell]}, used ${count} time${count === 1 ? '' : 's'}`;
  };
  const choose = (cell) => {
    chosen = chosen === cell ? null : cell;
    mark(chosen);
    if (chosen !== null) trigger('pick', { cell });
  };

  const columns = value.columns ? `grid-template-columns: repeat(${value.columns}, minmax(0, 1fr))` : '';
  const row = make('div', root, { class: 'fvq-panels', style: columns });
  for (const each of value.panels) {
    const figure = make('figure', row, each.column ? { style: `grid-column: ${each.column}` } : {});
    const caption = make('figcaption', figure);
    make('b', caption, {}, each.title);
    if (each.note) make('span', caption, {}, each.note);
    const frame = make('div', figure, { class: 'fvq-frame', style: `aspect-ratio: ${each.width} / ${each.height}` });
    make('img', frame, { src: each.src, alt: each.title, draggable: 'false', class: each.crisp ? 'fvq-crisp' : '' });
    if (!plane || !each.cells || !(plane.on_image || each.crisp)) continue;
    const svg = make('svg', frame, { viewBox: `0 0 ${plane.columns} ${plane.rows}`, preserveAspectRatio: 'none' });
    overlays.push({ same: make('path', svg, { class: 'fvq-same' }), own: make('path', svg, { class: 'fvq-own' }) });
    frame.classList.add('fvq-cells');
    frame.tabIndex = 0;
    const cellAt = (event) => {
      const box = frame.getBoundingClientRect();
      const at = (position, length, count) => Math.max(0, Math.min(count - 1, Math.floor((position / length) * count)));
      const cell = at(event.clientY - box.top, box.height, plane.rows) * plane.columns
        + at(event.clientX - box.left, box.width, plane.columns);
      return cell < plane.codes.length ? cell : null;
    };
    frame.addEventListener('mousemove', (event) => mark(cellAt(event)));
    frame.addEventListener('mouseleave', () => mark(chosen));
    frame.addEventListener('click', (event) => { const cell = cellAt(event); if (cell !== null) choose(cell); });
    frame.addEventListener('keydown', (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -plane.columns, ArrowDown: plane.columns }[event.key];
      if (step === undefined) return;
      event.preventDefault();
      const next = chosen === null ? 0 : chosen + step;
      if (next >= 0 && next < plane.codes.length) choose(next);
    });
  }
  if (overlays.length) {
    const idle = 'Point at a picture to see the code there and where else it is used; click to keep it, again to let it go.';
    tip = make('p', root, { class: 'fvq-tip', 'data-idle': idle }, idle);
  }
}

build();
watch('value', build);
