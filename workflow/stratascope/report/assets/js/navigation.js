// Where the reader is, and the menu on a small screen.

function startNavigation() {
  const links = new Map(all("#nav a").map((link) => [link.hash.slice(1), link]));
  const spy = new IntersectionObserver(
    (entries) => {
      for (const entry of entries) {
        const link = links.get(entry.target.id);
        if (!link || !entry.isIntersecting) continue;
        links.forEach((other) => other.removeAttribute("aria-current"));
        link.setAttribute("aria-current", "true");
      }
    },
    { rootMargin: "-15% 0px -75% 0px" },
  );
  for (const id of links.keys()) {
    const target = byId(id);
    if (target) spy.observe(target);
  }
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
