/* Figures that enlarge: a click or a tap on one, or its button, shows it alone, in its own size or as large as the
   window, and what does not fit scrolls. Escape, the button, or a click beside it closes it again. */
(() => {
  const dialog = document.createElement('dialog');
  dialog.className = 'syre-enlarged';
  dialog.innerHTML = '<button type="button">Close</button><div tabindex="0" role="group"><img alt=""></div>';
  const [button, frame] = dialog.children, large = frame.firstChild;
  button.addEventListener('click', () => dialog.close());
  dialog.addEventListener('click', (event) => event.target === dialog && dialog.close());

  const open = (image, name) => {
    // Only now, so that no image without words stands in the page.
    if (!dialog.isConnected) document.body.append(dialog);
    large.src = image.currentSrc || image.src;
    large.alt = image.alt;
    const own = Number(image.getAttribute('width')) || image.naturalWidth;
    large.style.width = `${Math.max(own, Math.min(2 * own, 0.92 * innerWidth))}px`;
    dialog.setAttribute('aria-label', name);
    frame.setAttribute('aria-label', `${name}, enlarged`);
    dialog.showModal();
    frame.scrollTo(0, 0);
  };

  for (const image of document.querySelectorAll('img.syre-figure')) {
    const figure = image.closest('figure, .syre-slider') ?? image.parentElement;
    const number = figure.querySelector('figcaption b')?.textContent.replace(/\.$/, '');
    const name = number?.startsWith('Figure') ? number : 'Figure';
    const more = document.createElement('button');
    more.type = 'button';
    more.className = 'syre-enlarge';
    more.textContent = 'Enlarge';
    more.setAttribute('aria-label', `Enlarge ${name.toLowerCase()}`);
    more.addEventListener('click', () => open(image, name));
    image.addEventListener('click', () => open(image, name));
    image.after(more);
  }
})();
