// A picture and a mask over it, which is painted with the mouse or a finger. Both leave the page as squares of the same size.

const MOST = 1024; // px; a larger picture is made smaller before it is sent

export class Canvas {
  constructor(frame, size) {
    [this.frame, this.size, this.loaded, this.painted, this.last] = [frame, size, false, false, null];
    [this.below, this.above] = frame.querySelectorAll("canvas");
    this.above.addEventListener("pointerdown", event => {
      this.above.setPointerCapture(event.pointerId);
      this.last = this.place(event);
      this.paint(event);
    });
    this.above.addEventListener("pointermove", event => event.buttons && this.paint(event));
    ["pointerup", "pointercancel", "pointerleave"].forEach(name => this.above.addEventListener(name, () => this.last = null));
  }

  // Shows the central square of a file, as the model will see it.
  async load(file) {
    if (!file) return;
    let picture;
    const turn = this.turn = (this.turn ?? 0) + 1;
    try {
      picture = await createImageBitmap(file);
    } catch {
      throw new Error(`${file.name} is no picture that this browser can read`);
    }
    if (turn !== this.turn) return; // another file was chosen meanwhile
    const side = Math.min(picture.width, picture.height), shown = Math.min(side, MOST);
    for (const canvas of [this.below, this.above]) canvas.width = canvas.height = shown;
    const [left, top] = [(picture.width - side) / 2, (picture.height - side) / 2];
    this.below.getContext("2d").drawImage(picture, left, top, side, side, 0, 0, shown, shown);
    this.frame.hidden = false;
    this.loaded = true;
    this.clear();
  }

  place(event) {
    const box = this.above.getBoundingClientRect(), scale = this.above.width / box.width;
    return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
  }

  paint(event) {
    const context = this.above.getContext("2d"), [x, y] = this.place(event);
    context.strokeStyle = "#fff";
    context.lineCap = context.lineJoin = "round";
    context.lineWidth = this.above.width * this.size.value / 100;
    context.beginPath();
    context.moveTo(...this.last ?? [x, y]); // a stroke may begin outside
    context.lineTo(x, y + 0.01); // a point is a line too
    context.stroke();
    this.last = [x, y];
    this.painted = true;
  }

  clear() {
    this.above.getContext("2d").clearRect(0, 0, this.above.width, this.above.height);
    this.painted = false;
  }

  picture() {
    return new Promise(done => this.below.toBlob(done, "image/png"));
  }

  mask() {
    const whole = document.createElement("canvas"), context = whole.getContext("2d");
    whole.width = whole.height = this.above.width;
    context.fillRect(0, 0, whole.width, whole.height);
    context.drawImage(this.above, 0, 0);
    return new Promise(done => whole.toBlob(done, "image/png"));
  }
}
