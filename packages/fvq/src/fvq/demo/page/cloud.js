// Draws the codes of a codebook as points; the one under the mouse is named, and a click chooses it.
// `element`, `props`, `trigger` and `watch` are given by gradio's HTML component.
function build() {
  const root = element.querySelector('.fvq-cloud');
  const value = props.value;
  if (!root) return;
  root.replaceChildren();
  if (!value || !value.codes) return;
  const canvas = document.createElement('canvas');
  const tip = document.createElement('p');
  tip.className = 'fvq-tip';
  const idle = 'Each point is a code. Point at one to see its number, click it for the codes near it; hollow ones are unused.';
  tip.textContent = idle;
  root.append(canvas, tip);
  const [side, edge] = [900, 26];
  canvas.width = canvas.height = side;
  const pen = canvas.getContext('2d');
  const x = (i) => edge + value.x[i] * (side - 2 * edge);
  const y = (i) => side - edge - value.y[i] * (side - 2 * edge);
  const radius = value.codes.length > 5000 ? 4 : 7;
  const dot = (i, size) => {
    pen.beginPath();
    pen.arc(x(i), y(i), size, 0, 7);
    pen.fillStyle = pen.strokeStyle = value.colours[i];
    pen.lineWidth = 2;
    value.counts[i] || !value.counted ? pen.fill() : pen.stroke();
  };
  const draw = (near) => {
    pen.clearRect(0, 0, side, side);
    value.codes.forEach((_, i) => dot(i, radius));
    if (near === null) return;
    dot(near, radius + 5);
    pen.lineWidth = 3;
    pen.strokeStyle = getComputedStyle(root).color;
    pen.stroke();
  };
  const nearest = (event) => {
    const box = canvas.getBoundingClientRect();
    const [px, py] = [(event.clientX - box.left) / box.width * side, (event.clientY - box.top) / box.height * side];
    let [found, least] = [null, 40 ** 2];
    value.codes.forEach((_, i) => {
      const away = (x(i) - px) ** 2 + (y(i) - py) ** 2;
      if (away < least) [found, least] = [i, away];
    });
    return found;
  };
  canvas.addEventListener('mousemove', (event) => {
    const near = nearest(event);
    draw(near);
    const uses = near === null || !value.counted ? '' : `, used ${value.counts[near]} time${value.counts[near] === 1 ? '' : 's'}`;
    tip.textContent = near === null ? idle : `code ${value.codes[near]}${uses}`;
  });
  canvas.addEventListener('mouseleave', () => { draw(null); tip.textContent = idle; });
  canvas.addEventListener('click', (event) => {
    const near = nearest(event);
    if (near !== null) trigger('pick', { code: value.codes[near] });
  });
  draw(null);
}

build();
watch('value', build);
