"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const first = head.classList.contains("n") ? "descending" : "ascending";
    const down = head.ariaSort ? head.ariaSort === "ascending" : first === "descending";
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const value = (row) => row.cells[column].dataset.value;
    const order = (a, b) => {
      const [x, y] = [value(a), value(b)];
      // What is not known stays at the end, whichever way round.
      if (x === "" || y === "") return (x === "") - (y === "");
      const by = head.classList.contains("n") ? Number(x) - Number(y) : x.localeCompare(y, "en", { numeric: true });
      return down ? -by : by;
    };
    table.tBodies[0].append(...[...table.tBodies[0].rows].sort(order));
  }));
}

const dialog = document.getElementById("large");
for (const button of document.querySelectorAll("button.zoom")) {
  button.addEventListener("click", () => {
    const [shown, inside] = [dialog.querySelector("img"), button.querySelector("img")];
    shown.src = inside.src;
    shown.alt = inside.alt;
    dialog.showModal();
  });
}
dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });

const theme = document.getElementById("theme");
const modes = ["as the system", "light", "dark"];
theme.addEventListener("click", () => {
  const next = modes[(modes.indexOf(theme.textContent.slice(9)) + 1) % 3];
  theme.textContent = `Colours: ${next}`;
  if (next === modes[0]) document.documentElement.removeAttribute("data-theme");
  else document.documentElement.dataset.theme = next;
});

const links = new Map([...document.querySelectorAll("nav a")].map((link) => [link.hash.slice(1), link]));
const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) links.get(entry.target.id)?.classList.toggle("here", entry.isIntersecting);
}, { rootMargin: "-10% 0px -70% 0px" });
document.querySelectorAll("main section").forEach((section) => seen.observe(section));

// Dark violet to bright yellow with rising lightness, so that it reads without colour too; opacity rises with it.
const STOPS = [[13, 8, 60], [106, 23, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]];
function heat(value) {
  const at = Math.min(value, 0.9999) * (STOPS.length - 1), low = Math.floor(at);
  return STOPS[low].map((from, k) => from + (STOPS[low + 1][k] - from) * (at - low));
}

async function attention(box) {
  const data = JSON.parse(box.querySelector("script").textContent);
  const { across, down, rows, columns, points, frame } = data;
  const ask = box.querySelector("canvas[tabindex]");
  const answers = [...box.querySelectorAll("canvas:not([tabindex])")];
  const readout = box.parentElement.querySelector(".readout");
  const maps = await Promise.all(data.maps.map(async (source) => {
    const image = new Image();
    image.src = source;
    await image.decode();
    const canvas = new OffscreenCanvas(image.width, image.height), pen = canvas.getContext("2d", { willReadFrequently: true });
    pen.drawImage(image, 0, 0);
    return pen;
  }));
  for (const canvas of [ask, ...answers]) [canvas.height, canvas.width] = frame;
  const line = Math.max(1.5, frame[1] / 260);
  const ring = (pen, x, y, radius) => {
    for (const [width, ink] of [[3 * line, "#000c"], [line, "#fff"]]) {
      pen.lineWidth = width;
      pen.strokeStyle = ink;
      pen.beginPath();
      pen.arc(x, y, radius, 0, 7);
      pen.stroke();
    }
  };
  let chosen = data.first;
  function show() {
    const pen = ask.getContext("2d");
    pen.clearRect(0, 0, frame[1], frame[0]);
    pen.fillStyle = "#fff9";
    for (const [x, y] of points) pen.fillRect(x - line * 0.7, y - line * 0.7, line * 1.4, line * 1.4);
    ring(pen, ...points[chosen], 4 * line);
    const told = [];
    answers.forEach((canvas, k) => {
      const tile = maps[k].getImageData((chosen % across) * columns, Math.floor(chosen / across) * rows, columns, rows);
      for (let i = 0; i < rows * columns; i++) {
        const value = tile.data[4 * i];
        const [red, green, blue] = heat(value / 255);
        tile.data.set([red, green, blue, 40 + 200 * (value / 255) ** 0.6], 4 * i);
      }
      const small = new OffscreenCanvas(columns, rows);
      small.getContext("2d").putImageData(tile, 0, 0);
      const out = canvas.getContext("2d");
      out.clearRect(0, 0, frame[1], frame[0]);
      out.drawImage(small, 0, 0, frame[1], frame[0]);
      const [x, y] = data.peaks[k][chosen];
      ring(out, x, y, 4 * line);
      told.push(`(${Math.round(x)}, ${Math.round(y)})`);
    });
    const [x, y] = points[chosen];
    readout.textContent = `Point (${Math.round(x)}, ${Math.round(y)}) looks most at ${told.join(" and ")}. Click, or use the arrow keys.`;
    box.dataset.chosen = chosen;
  }
  ask.addEventListener("click", (event) => {
    const x = (event.offsetX / ask.clientWidth) * frame[1], y = (event.offsetY / ask.clientHeight) * frame[0];
    const far = points.map(([px, py]) => (px - x) ** 2 + (py - y) ** 2);
    chosen = far.indexOf(Math.min(...far));
    show();
  });
  ask.addEventListener("keydown", (event) => {
    const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [0, 0];
    if (!dx && !dy) return;
    event.preventDefault();
    const column = Math.min(Math.max((chosen % across) + dx, 0), across - 1);
    const row = Math.min(Math.max(Math.floor(chosen / across) + dy, 0), down - 1);
    chosen = row * across + column;
    show();
  });
  show();
}
document.querySelectorAll(".attention").forEach((box) => attention(box));
