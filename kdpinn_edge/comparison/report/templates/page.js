// What a pointer adds: the numbers under it, and the backend it is on. The page is whole without.
(() => {
  const tip = document.getElementById("tip");
  let active = null;

  const select = (mark) => {
    const name = mark ? mark.closest("[data-backend]").dataset.backend : null;
    if (name === active) return;
    active = name;
    for (const chart of document.querySelectorAll("svg.chart"))
      for (const group of chart.querySelectorAll("[data-backend]"))
        group.classList.toggle("dim", name !== null && group.dataset.backend !== name);
  };

  document.addEventListener("pointermove", (event) => {
    const mark = event.target.closest("[data-tip]");
    select(event.target.closest("[data-backend]"));
    tip.hidden = !mark;
    if (!mark) return;
    tip.textContent = mark.dataset.tip;
    const { width, height } = tip.getBoundingClientRect();
    const left = Math.min(event.clientX + 14, innerWidth - width - 8);
    const above = event.clientY - height - 14;
    tip.style.left = `${Math.max(8, left)}px`;
    tip.style.top = `${above < 8 ? event.clientY + 18 : above}px`;
  });
  document.addEventListener("pointerleave", () => { tip.hidden = true; select(null); });
})();
