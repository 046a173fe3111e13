// Draws small pictures in a grid; a click chooses one.
// `element`, `props`, `trigger` and `watch` are given by gradio's HTML component.
const root = element.querySelector('.fvq-thumbs');
(props.value || []).forEach(({ src, name }, index) => {
  const button = document.createElement('button');
  const image = document.createElement('img');
  Object.assign(image, { src, alt: name });
  Object.assign(button, { type: 'button', title: name });
  button.append(image);
  button.addEventListener('click', () => trigger('pick', { index }));
  root.append(button);
});
