/* Shows what a word of the glossary means: on hover, on keyboard focus, and on the first tap. Escape, or leaving
   both the word and its meaning, hides it again. The meanings come with the page (tools/build/terms.py). A link to a
   figure or an equation of the page shows that in the same way, but a tap leads there. */
(() => {
  const PAUSE = 250; // ms: time to move the mouse from the word on to its meaning
  const EDGE = 8; // px between a meaning and the edge of the window
  let word = null, meaning = null, leaving = 0;

  const hide = () => {
    clearTimeout(leaving);
    if (meaning) meaning.hidden = true;
    word = meaning = null;
  };

  const hideSoon = () => {
    clearTimeout(leaving);
    leaving = setTimeout(hide, PAUSE);
  };

  // Below the word, or above it where there is no room; never beyond the window's sides.
  const place = () => {
    if (!word) return;
    const line = word.getClientRects()[0], box = meaning.getBoundingClientRect();
    const right = document.documentElement.clientWidth - box.width - EDGE;
    const above = line.bottom + box.height + EDGE > innerHeight && line.top > box.height + EDGE;
    meaning.style.left = `${Math.max(EDGE, Math.min(line.left, right))}px`;
    meaning.style.top = `${above ? line.top - box.height : line.bottom}px`;
  };

  const show = (link, about) => {
    if (meaning !== about) hide();
    clearTimeout(leaving);
    [word, meaning] = [link, about];
    meaning.hidden = false;
    place();
  };

  const attach = (link, about) => {
    const byMouse = (act) => (event) => event.pointerType === 'touch' || act();
    link.addEventListener('pointerenter', byMouse(() => show(link, about)));
    link.addEventListener('pointerleave', byMouse(hideSoon));
    about.addEventListener('pointerenter', byMouse(() => clearTimeout(leaving)));
    about.addEventListener('pointerleave', byMouse(hideSoon));
    link.addEventListener('focus', () => link.matches(':focus-visible') && show(link, about));
    link.addEventListener('blur', hide);
  };

  const explain = (link) => {
    const about = document.getElementById(`about-${link.hash.slice(1)}`);
    if (!about) return;
    link.classList.add('syre-term');
    link.setAttribute('aria-describedby', about.id);
    attach(link, about);
    link.addEventListener('click', (event) => {
      // The second tap follows the link.
      if (event.pointerType !== 'touch' || word === link) return;
      event.preventDefault();
      show(link, about);
    });
  };

  // What the link leads to, for the eye only: nobody needs to hear it before going there.
  const preview = (link) => {
    const about = document.createElement('div');
    about.className = 'syre-meaning syre-preview';
    about.setAttribute('aria-hidden', 'true');
    about.hidden = true;
    const fill = () => {
      const seen = document.getElementById(link.hash.slice(1))?.querySelector('img, mjx-container')?.cloneNode(true);
      seen?.removeAttribute('tabindex');
      about.replaceChildren(...(seen ? [seen] : []));
      if (!about.isConnected) document.body.append(about);
    };
    link.addEventListener('pointerenter', fill);
    link.addEventListener('focus', fill);
    attach(link, about);
  };

  document.querySelectorAll('a.reference.internal:has(> .std-term)').forEach(explain);
  document.querySelectorAll('a.reference:is([href^="#figure-"], [href^="#equation-"])').forEach(preview);
  document.addEventListener('keydown', (event) => event.key === 'Escape' && hide());
  document.addEventListener('pointerdown', (event) => {
    if (!event.target.closest('a, .syre-meaning')) hide();
  });
  addEventListener('scroll', place, {passive: true, capture: true});
  addEventListener('resize', place);
})();
