// Two repairs for ipywidgets on a page without a kernel. Must run before the theme's own scripts.
// 1. Font Awesome would replace the icons of the widgets' buttons after they are drawn.
window.FontAwesomeConfig = { observeMutations: false };
// 2. The widget manager asks for MathJax 2's queue, which MathJax 3 does not have.
document.addEventListener("DOMContentLoaded", () => {
  window.MathJax = window.MathJax || {};
  window.MathJax.Hub = window.MathJax.Hub || { Queue: () => {} };
});
