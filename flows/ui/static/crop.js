// A square of a picture: it is moved by dragging and made smaller with the wheel or a slider, and the picture can be turned.

const SHOWN = 320, MOST = 1024; // px

export class Crop {
  // A picture that this browser cannot show is sent as it is, and the app judges it.
  static async of(file, frame, changed) {
    try {
      return new Crop(await createImageBitmap(file), frame, changed);
    } catch {
      frame.append(Object.assign(document.createElement("p"), {className: "hint", textContent: "no preview"}));
      return null;
    }
  }

  constructor(picture, frame, changed) {
    [this.picture_, this.changed, this.quarter, this.zoom] = [picture, changed, 0, 1];
    this.x = this.y = 0.5; // the middle of the square, as shares of the upright picture
    this.canvas = document.createElement("canvas");
    this.canvas.width = this.canvas.height = SHOWN;
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", "the square that is used; drag to move it");
    this.slider = Object.assign(document.createElement("input"), {type: "range", min: 1, max: 3, step: 0.05, value: 1, ariaLabel: "zoom"});
    frame.append(this.canvas);
    this.slider.addEventListener("input", () => {
      this.zoom = +this.slider.value;
      this.draw();
    });
    this.slider.addEventListener("change", changed);
    this.canvas.addEventListener("pointerdown", event => {
      this.canvas.setPointerCapture(event.pointerId);
      this.from = [event.clientX, event.clientY, this.x, this.y];
    });
    this.canvas.addEventListener("pointermove", event => event.buttons && this.from && this.move(event));
    for (const end of ["pointerup", "pointercancel"]) {
      this.canvas.addEventListener(end, () => {
        if (this.from && (this.x !== this.from[2] || this.y !== this.from[3])) changed();
        this.from = null;
      });
    }
    this.draw();
  }

  get size() {
    const {width, height} = this.picture_;
    return this.quarter % 2 ? [height, width] : [width, height];
  }

  get side() {
    return Math.min(...this.size) / this.zoom;
  }

  move(event) {
    const [width, height] = this.size, scale = this.side / this.canvas.getBoundingClientRect().width, [left, top, x, y] = this.from;
    this.x = x - (event.clientX - left) * scale / width;
    this.y = y - (event.clientY - top) * scale / height;
    this.draw();
  }

  turn() {
    this.quarter = (this.quarter + 1) % 4;
    [this.x, this.y] = [1 - this.y, this.x];
    this.draw();
    this.changed();
  }

  draw(canvas = this.canvas) {
    const [width, height] = this.size, context = canvas.getContext("2d"), half = this.side / 2;
    this.x = Math.min(1 - half / width, Math.max(half / width, this.x));
    this.y = Math.min(1 - half / height, Math.max(half / height, this.y));
    const scale = canvas.width / this.side;
    context.setTransform(scale, 0, 0, scale, (half - this.x * width) * scale, (half - this.y * height) * scale);
    context.translate(width / 2, height / 2);
    context.rotate(this.quarter * Math.PI / 2);
    context.drawImage(this.picture_, -this.picture_.width / 2, -this.picture_.height / 2);
    context.setTransform(1, 0, 0, 1, 0, 0);
  }

  picture() {
    const whole = document.createElement("canvas");
    whole.width = whole.height = Math.min(MOST, Math.round(this.side));
    this.draw(whole);
    return new Promise(done => whole.toBlob(done, "image/png"));
  }
}
