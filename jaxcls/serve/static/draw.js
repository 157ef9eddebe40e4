// A pad to draw a picture on, for models of small grey pictures such as digits: white on black, as those are.

const WIDTH = 22; // of the line, in pixels of the canvas

/** Wires the pad up; `ask(file)` gets what was drawn. */
export function pad(box, ask) {
  const canvas = box.querySelector("canvas");
  const context = canvas.getContext("2d", { willReadFrequently: true });
  let drawn = 0;
  let empty = true;
  const wipe = () => {
    context.fillStyle = "#000";
    context.fillRect(0, 0, canvas.width, canvas.height);
    empty = true;
  };
  const at = (event) => {
    const place = canvas.getBoundingClientRect();
    return [
      ((event.clientX - place.left) * canvas.width) / place.width,
      ((event.clientY - place.top) * canvas.height) / place.height,
    ];
  };
  const line = (event) => {
    context.lineTo(...at(event));
    context.stroke();
    empty = false;
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    Object.assign(context, { strokeStyle: "#fff", lineWidth: WIDTH, lineCap: "round", lineJoin: "round" });
    context.beginPath();
    context.moveTo(...at(event));
    line(event);
    event.preventDefault();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (canvas.hasPointerCapture(event.pointerId)) line(event);
  });
  box.querySelector("#wipe").addEventListener("click", wipe);
  box.querySelector("#ask").addEventListener("click", () => {
    if (empty) return;
    drawn += 1;
    canvas.toBlob((blob) => {
      ask(new File([blob], `drawn ${drawn}.png`, { type: "image/png" }));
      wipe();
    }, "image/png");
  });
  wipe();
}
