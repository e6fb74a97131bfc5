// Where the reader is, and the menu on a small screen.

function startNavigation() {
  const links = new Map(all("#nav a").map((link) => [link.hash.slice(1), link]));
  const places = [...links.keys()].map(byId).filter(Boolean);
  let waiting = false;
  const mark = () => {
    waiting = false;
    const line = innerHeight * 0.3;
    const here = places.findLast((place) => place.getBoundingClientRect().top < line) ?? places[0];
    links.forEach((link) => link.removeAttribute("aria-current"));
    links.get(here.id).setAttribute("aria-current", "true");
  };
  const later = () => {
    if (!waiting) requestAnimationFrame(mark);
    waiting = true;
  };
  addEventListener("scroll", later, { passive: true });
  mark();
  const button = byId("nav-button");
  const toggle = (open) => {
    document.body.classList.toggle("with-nav", open);
    button.setAttribute("aria-expanded", String(open));
  };
  button.addEventListener("click", () => toggle(!document.body.classList.contains("with-nav")));
  byId("nav").addEventListener("click", (event) => {
    if (event.target.closest("a")) toggle(false);
  });
  addEventListener("keydown", (event) => {
    if (event.key === "Escape" && document.body.classList.contains("with-nav")) {
      toggle(false);
      button.focus();
    }
  });
}
