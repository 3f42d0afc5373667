for (const table of document.querySelectorAll("table.sortable")) {
  const headers = [...table.tHead.rows[0].cells];
  headers.forEach((header, column) => header.querySelector("button")?.addEventListener("click", () => {
    const order = header.getAttribute("aria-sort");
    const down = order === null ? header.dataset.first === "descending" : order === "ascending";
    for (const other of headers) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", down ? "descending" : "ascending");
    const value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
    const compare = (a, b) => {
      const [x, y] = [a, b].map(value);
      if (header.dataset.kind !== "number") return (down ? -1 : 1) * x.localeCompare(y, undefined, { numeric: true });
      if (isNaN(x) || isNaN(y)) return isNaN(x) - isNaN(y);
      return (down ? -1 : 1) * (x - y);
    };
    const body = table.tBodies[0];
    body.append(...[...body.rows].sort(compare));
  }));
}

const filters = [...document.querySelectorAll(".filters input")];
const filter = () => {
  const off = new Set(filters.filter((input) => !input.checked).map((input) => input.value));
  for (const part of document.querySelectorAll("[data-parts]")) {
    part.classList.toggle("off", part.dataset.parts.split(" ").some((one) => off.has(one)));
  }
};
for (const input of filters) input.addEventListener("change", filter);
filter(); // a browser keeps the choice when it loads the page again

for (const rivals of document.querySelectorAll(".rivals")) {
  const choices = [...rivals.querySelectorAll("select")];
  const grid = rivals.querySelector(".pairs");
  const figures = [...grid.children];
  const sides = (figure) => choices.map((choice) => figure.querySelector(`img[data-side="${choice.value}"]`));
  const gap = (figure) => {
    const [left, right] = sides(figure).map((image) => image?.dataset.value);
    return Math.abs(left - right) || 0;
  };
  const show = () => {
    for (const figure of figures) {
      const [left, right] = sides(figure);
      figure.classList.toggle("off", !left || !right);
      for (const image of figure.querySelectorAll("img[data-side]")) {
        image.classList.toggle("left", image === left);
        image.classList.toggle("right", image === right && left !== right);
      }
      figure.querySelector(".scores").textContent = [left, right].map((image) => image?.title).join(" | ");
    }
    grid.append(...figures.sort((a, b) => gap(b) - gap(a)));
  };
  for (const choice of choices) choice.addEventListener("change", show);
  for (const figure of figures) {
    figure.querySelector("input").addEventListener("input", (event) => {
      figure.style.setProperty("--cut", `${event.target.value}%`);
    });
  }
  show();
}
