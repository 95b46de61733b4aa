// The viewer of a study's films: windowing, zoom, ruler and comparison, on the pixels as they were sent.
//
// A film comes lossless, in the format that model/dicom/film_format.py describes. The grey level of
// each possible sample is computed once for a window (a table of 65536 levels), with the rounding of
// the server. WebGL2 looks samples up in it on the graphics card; where there is no such card, the
// processor does the same for each pixel of a plain canvas. `?renderer=2d` or `?renderer=webgl2` in the
// address decides that. Without this script the page shows its pictures.
"use strict";

(() => {
  const root = document.getElementById("viewer");
  if (!root) return;

  const KEY_STEP = 16; // pixels of dragging that one press of a key or a button is worth
  const DRAG_RANGE = 512; // pixels of dragging over which a window moves by the film's whole range
  const PAN_STEP = 48; // pixels of the screen
  const ZOOM_STEP = 1.25;
  const MOST_ZOOM = 16;
  const LENS_SIDE = 200; // CSS pixels
  const LENS_ZOOM = 2.5; // of the magnifier, times the film's own zoom
  const MOST_TAPS = 8; // samples in each direction whose mean a pixel of a small film is
  const FILMS_KEPT = 6; // films in memory; one of 3000 x 2500 takes 15 MB
  const CLICK_SLACK = 4; // pixels that a click may move
  const SAID_AFTER = 600; // milliseconds without a change after which the change is said
  const RETRY_AFTER = 2000;
  const MAGIC = 0x4e444631; // "NDF1"

  const panes = [];
  const reading = root.closest(".reading");
  const news = document.getElementById("film-news");
  const presets = document.getElementById("preset");
  const renderer = new URLSearchParams(location.search).get("renderer");
  let active = null; // the pane that buttons act on
  let tool = "window";

  // --- Films ---

  // A film on its way. Its samples are decoded while the rest comes, so that the last byte ends the work.
  class IncomingFilm {
    constructor() {
      this.head = new Uint8Array(0); // what came before the whole header was there
      this.header = null;
      this.at = 0; // bytes after the header that came
    }

    take(bytes) {
      if (this.header) return this.takeBody(bytes);
      const head = new Uint8Array(this.head.length + bytes.length);
      head.set(this.head);
      head.set(bytes, this.head.length);
      this.head = head;
      const view = new DataView(head.buffer);
      if (head.length < 8) return;
      if (view.getUint32(0) !== MAGIC) throw new Error("The answer is no film.");
      const start = 8 + view.getUint32(4, true);
      if (head.length < start) return;
      this.header = JSON.parse(new TextDecoder().decode(head.subarray(8, start)));
      const { rows, columns, bits, luts } = this.header;
      this.count = rows * columns;
      this.high = new Uint8Array(this.count);
      this.samples = new Uint16Array(this.count);
      this.tables = new Uint8Array(2 * luts * 2 ** bits);
      this.takeBody(head.subarray(start));
    }

    takeBody(bytes) {
      const { count, high, tables } = this;
      if (this.at + bytes.length > 2 * count + tables.length) throw new Error("The film is longer than it says.");
      for (let from = 0; from < bytes.length; ) {
        const [start, end] = [[0, count], [count, 2 * count], [2 * count, Infinity]].find(([, end]) => this.at < end);
        const part = bytes.subarray(from, from + end - this.at);
        const at = this.at - start;
        if (start === 0) high.set(part, at);
        else if (start === count) this.decode(part, at);
        else tables.set(part, at);
        this.at += part.length;
        from += part.length;
      }
    }

    // From the low bytes of the samples from `at` on to these samples.
    decode(low, at) {
      const { high, samples, header: { columns } } = this;
      for (let from = 0; from < low.length; ) {
        const column = at % columns;
        let sample = column ? samples[at - 1] : at && samples[at - columns];
        for (const end = Math.min(at + columns - column, at + low.length - from); at < end; at++, from++) {
          sample = (sample + ((high[at] << 8) | low[from])) & 0xffff;
          samples[at] = sample;
        }
      }
    }

    finish() {
      const { header, samples, tables } = this;
      if (!header || this.at !== 2 * this.count + tables.length) throw new Error("The film is cut off.");
      const luts = [];
      for (let number = 0; number < header.luts; number++) {
        luts.push(new Uint16Array(tables.buffer, number * 2 ** (header.bits + 1), 2 ** header.bits));
      }
      return { header, samples, luts };
    }
  }

  const kept = new Map(); // films by address, the one that was used last at the end

  function load(address) {
    const known = kept.get(address);
    kept.delete(address);
    const film = known ?? fetchFilm(address);
    kept.set(address, film);
    film.catch(() => kept.delete(address));
    while (kept.size > FILMS_KEPT) kept.delete(kept.keys().next().value);
    return film;
  }

  async function fetchFilm(address, again = true) {
    const response = await fetch(address);
    if (response.status === 401) {
      location.reload(); // the login has ended, and its page says so
      throw new Error("The login has ended.");
    }
    if (response.status === 503 && again) {
      await new Promise((done) => setTimeout(done, RETRY_AFTER));
      return fetchFilm(address, false);
    }
    if (!response.ok) {
      const page = new DOMParser().parseFromString(await response.text(), "text/html");
      throw new Error(page.querySelector("h1")?.textContent ?? `The server answers ${response.status}.`);
    }
    const film = new IncomingFilm();
    for (const reader = response.body.getReader(); ; ) {
      const { done, value } = await reader.read();
      if (done) return film.finish();
      film.take(value);
    }
  }

  // --- The grey scale ---

  // Half to even, as the server rounds.
  function round(value) {
    const whole = Math.floor(value);
    const rest = value - whole;
    return rest > 0.5 || (rest === 0.5 && whole % 2 === 1) ? whole + 1 : whole;
  }

  function shareOf(value, { function: kind, centre, width }) {
    if (kind === "SIGMOID") return 1 / (1 + Math.exp((-4 * (value - centre)) / width));
    if (kind === "LINEAR_EXACT") return (value - centre) / width + 0.5;
    if (width === 1) return value > centre - 0.5 ? 1 : 0;
    return (value - (centre - 0.5)) / (width - 1) + 0.5;
  }

  function greyTable({ header, luts }, window_, isInverted, table) {
    const { offset, slope, intercept, padding } = header;
    const lut = window_.function === "LUT" ? luts[window_.lut] : null;
    const isReversed = header.inverted !== isInverted;
    for (let sample = 0; sample < 2 ** header.bits; sample++) {
      let share = lut ? lut[sample] / 65535 : shareOf((sample + offset) * slope + intercept, window_);
      if (isReversed) share = 1 - share;
      table[sample] = round(255 * Math.min(1, Math.max(0, share)));
    }
    if (padding) table.fill(0, padding[0], padding[1] + 1);
  }

  // --- Drawing. A view is {a, b, c, d, e, f}: the film's point (x, y) that lies on the canvas's point
  // (X, Y) is (aX + cY + e, bX + dY + f); and {size, taps, isSmooth}. ---

  const VERTICES = `#version 300 es
    in vec2 corner;
    void main() { gl_Position = vec4(corner, 0.0, 1.0); }`;

  const FRAGMENTS = `#version 300 es
    precision highp float;
    precision highp int;
    precision highp usampler2D;
    uniform usampler2D film;
    uniform sampler2D table;
    uniform vec4 turned;
    uniform vec2 moved;
    uniform vec2 step;
    uniform ivec2 size;
    uniform float height;
    uniform int taps;
    uniform bool isSmooth;
    out vec4 colour;
    float grey(ivec2 at) {
      uint value = texelFetch(film, clamp(at, ivec2(0), size - 1), 0).r;
      return texelFetch(table, ivec2(int(value & 255u), int(value >> 8)), 0).r;
    }
    void main() {
      vec2 screen = vec2(gl_FragCoord.x, height - gl_FragCoord.y);
      vec2 at = vec2(dot(turned.xy, screen), dot(turned.zw, screen)) + moved;
      float level = 0.0;
      if (any(lessThan(at, vec2(0.0))) || any(greaterThanEqual(at, vec2(size)))) {
        level = 0.0;
      } else if (taps > 1) {
        for (int y = 0; y < ${MOST_TAPS}; y++) {
          if (y >= taps) break;
          for (int x = 0; x < ${MOST_TAPS}; x++) {
            if (x >= taps) break;
            vec2 part = (vec2(float(x), float(y)) + 0.5) / float(taps) - 0.5;
            level += grey(ivec2(floor(at + part * step)));
          }
        }
        level /= float(taps * taps);
      } else if (isSmooth) {
        vec2 corner = floor(at - 0.5);
        vec2 share = at - 0.5 - corner;
        ivec2 first = ivec2(corner);
        level = mix(
          mix(grey(first), grey(first + ivec2(1, 0)), share.x),
          mix(grey(first + ivec2(0, 1)), grey(first + ivec2(1, 1)), share.x),
          share.y);
      } else {
        level = grey(ivec2(floor(at)));
      }
      colour = vec4(vec3(level), 1.0);
    }`;

  class GpuRenderer {
    static name = "webgl2";

    constructor(canvas) {
      // A processor that plays the graphics card draws a plain canvas in half of the time.
      const gl = canvas.getContext("webgl2", {
        alpha: false, antialias: false, preserveDrawingBuffer: true,
        failIfMajorPerformanceCaveat: renderer !== "webgl2",
      });
      if (!gl) throw new Error("There is no WebGL2.");
      this.gl = gl;
      const program = gl.createProgram();
      for (const [kind, text] of [[gl.VERTEX_SHADER, VERTICES], [gl.FRAGMENT_SHADER, FRAGMENTS]]) {
        const shader = gl.createShader(kind);
        gl.shaderSource(shader, text);
        gl.compileShader(shader);
        gl.attachShader(program, shader);
      }
      gl.linkProgram(program);
      if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error("The shader cannot be linked.");
      gl.useProgram(program);
      this.place = {};
      for (const name of ["film", "table", "turned", "moved", "step", "size", "height", "taps", "isSmooth"]) {
        this.place[name] = gl.getUniformLocation(program, name);
      }
      gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
      gl.bufferData(gl.ARRAY_BUFFER, new Float32Array([-1, -1, 3, -1, -1, 3]), gl.STATIC_DRAW);
      const corner = gl.getAttribLocation(program, "corner");
      gl.enableVertexAttribArray(corner);
      gl.vertexAttribPointer(corner, 2, gl.FLOAT, false, 0, 0);
      gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
      for (const unit of [0, 1]) {
        gl.activeTexture(gl.TEXTURE0 + unit);
        gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
        for (const name of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, name, gl.NEAREST);
        for (const name of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) gl.texParameteri(gl.TEXTURE_2D, name, gl.CLAMP_TO_EDGE);
      }
      gl.uniform1i(this.place.film, 0);
      gl.uniform1i(this.place.table, 1);
    }

    setFilm({ header, samples }) {
      const gl = this.gl;
      if (Math.max(header.rows, header.columns) > gl.getParameter(gl.MAX_TEXTURE_SIZE)) throw new Error("The film is too large.");
      gl.activeTexture(gl.TEXTURE0);
      gl.texImage2D(gl.TEXTURE_2D, 0, gl.R16UI, header.columns, header.rows, 0, gl.RED_INTEGER, gl.UNSIGNED_SHORT, samples);
      if (gl.getError() !== gl.NO_ERROR) throw new Error("The graphics card has no room for the film.");
      gl.uniform2i(this.place.size, header.columns, header.rows);
    }

    setTable(table) {
      const gl = this.gl;
      gl.activeTexture(gl.TEXTURE1);
      gl.texImage2D(gl.TEXTURE_2D, 0, gl.R8, 256, 256, 0, gl.RED, gl.UNSIGNED_BYTE, table);
    }

    draw(view, part) {
      const gl = this.gl;
      const { width, height } = gl.canvas;
      gl.viewport(0, 0, width, height);
      if (part) {
        gl.enable(gl.SCISSOR_TEST);
        gl.scissor(part.x, height - part.y - part.side, part.side, part.side);
      } else gl.disable(gl.SCISSOR_TEST);
      gl.uniform4f(this.place.turned, view.a, view.c, view.b, view.d);
      gl.uniform2f(this.place.moved, view.e, view.f);
      gl.uniform2f(this.place.step, ...view.step);
      gl.uniform1f(this.place.height, height);
      gl.uniform1i(this.place.taps, view.taps);
      gl.uniform1i(this.place.isSmooth, view.isSmooth ? 1 : 0);
      gl.drawArrays(gl.TRIANGLES, 0, 3);
    }
  }

  // For the columns or the rows of a canvas from `first` to before `last`: where in the film the samples
  // of each are, `many` for each, as steps in its list of samples.
  //   scale, shift: film's coordinate = scale * canvas's coordinate + shift
  //   step: what one pixel of the screen is in the film
  //   side, stride: of the film in this direction
  // `begin` and `end` are the first that lies on the film and the one after the last.
  function placesOf({ scale, shift, step, side, stride }, first, last, taps, isBetween) {
    const many = isBetween ? 2 : taps;
    const places = new Int32Array((last - first) * many);
    const shares = new Float64Array(isBetween ? last - first : 0); // of the second of the two samples
    let begin = 0;
    let end = 0;
    for (let number = 0; number < last - first; number++) {
      const at = scale * (first + number + 0.5) + shift;
      if (at >= 0 && at < side) {
        if (!end) begin = number;
        end = number + 1;
      }
      const before = Math.floor(at - 0.5);
      if (isBetween) shares[number] = at - 0.5 - before;
      for (let tap = 0; tap < many; tap++) {
        const place = isBetween ? before + tap : Math.floor(at + ((tap + 0.5) / taps - 0.5) * step);
        places[number * many + tap] = Math.min(side - 1, Math.max(0, place)) * stride;
      }
    }
    return { places, shares, begin, end };
  }

  function colourOf(level) {
    return 0xff000000 | (Math.round(level) * 0x10101);
  }

  // Draws as the shader above does, by the processor.
  class FlatRenderer {
    static name = "2d";

    constructor(canvas) {
      this.context = canvas.getContext("2d", { alpha: false });
    }

    setFilm({ header, samples }) {
      this.header = header;
      this.samples = samples;
    }

    setTable(table) {
      this.table = table;
    }

    draw(view, part) {
      const { context, header: { rows, columns } } = this;
      const { a, b, c, d, e, f, step, taps } = view;
      const { width, height } = context.canvas;
      const left = part ? Math.max(0, part.x) : 0;
      const top = part ? Math.max(0, part.y) : 0;
      const right = part ? Math.min(width, part.x + part.side) : width;
      const bottom = part ? Math.min(height, part.y + part.side) : height;
      if (left >= right || top >= bottom) return;
      const isBetween = taps === 1 && view.isSmooth;
      // Turns are quarters: a column of the canvas is a column of the film, or a row of it.
      const isUpright = a !== 0;
      const x = { scale: isUpright ? a : c, shift: e, step: step[0], side: columns, stride: 1 };
      const y = { scale: isUpright ? d : b, shift: f, step: step[1], side: rows, stride: columns };
      const across = placesOf(isUpright ? x : y, left, right, taps, isBetween);
      const down = placesOf(isUpright ? y : x, top, bottom, taps, isBetween);
      const image = context.createImageData(right - left, bottom - top);
      const pixels = new Uint32Array(image.data.buffer).fill(0xff000000);
      if (isBetween) this.drawBetween(pixels, right - left, across, down);
      else this.drawMeans(pixels, right - left, across, down, taps);
      context.putImageData(image, left, top);
    }

    // Each pixel is the mean of taps x taps samples. Samples are read in the film's order of rows.
    drawMeans(pixels, width, { places, begin, end }, down, taps) {
      const { samples, table } = this;
      const sums = new Uint32Array(width);
      for (let y = down.begin; y < down.end; y++) {
        sums.fill(0);
        for (let row = y * taps; row < (y + 1) * taps; row++) {
          const from = down.places[row];
          for (let x = begin, tap = begin * taps; x < end; x++) {
            let sum = 0;
            for (const after = tap + taps; tap < after; tap++) sum += table[samples[from + places[tap]]];
            sums[x] += sum;
          }
        }
        for (let x = begin; x < end; x++) pixels[y * width + x] = colourOf(sums[x] / (taps * taps));
      }
    }

    // Each pixel lies between two by two samples.
    drawBetween(pixels, width, { places, shares, begin, end }, down) {
      const { samples, table } = this;
      for (let y = down.begin; y < down.end; y++) {
        const upper = down.places[2 * y];
        const lower = down.places[2 * y + 1];
        for (let x = begin; x < end; x++) {
          const left = places[2 * x];
          const right = places[2 * x + 1];
          const above = table[samples[upper + left]] * (1 - shares[x]) + table[samples[upper + right]] * shares[x];
          const below = table[samples[lower + left]] * (1 - shares[x]) + table[samples[lower + right]] * shares[x];
          pixels[y * width + x] = colourOf(above * (1 - down.shares[y]) + below * down.shares[y]);
        }
      }
    }
  }

  // --- Panes ---

  const TURNS = [[1, 0, 0, 1], [0, 1, -1, 0], [-1, 0, 0, -1], [0, -1, 1, 0]]; // of (x, y): (m0 x + m2 y, m1 x + m3 y)

  function make(name, className, parent) {
    const element = document.createElement(name);
    element.className = className;
    parent?.append(element);
    return element;
  }

  function drawn(name, parent) {
    return parent.appendChild(document.createElementNS("http://www.w3.org/2000/svg", name));
  }

  class Pane {
    constructor(isEarlier) {
      this.isEarlier = isEarlier;
      this.box = make("div", `pane${isEarlier ? " earlier-pane" : ""}`, document.getElementById("panes"));
      this.title = make("p", "pane-title", this.box);
      this.title.id = `pane-title-${panes.length}`;
      this.stage = make("div", "stage", this.box);
      this.stage.tabIndex = 0;
      this.stage.setAttribute("role", "application");
      this.stage.setAttribute("aria-roledescription", "film");
      this.stage.setAttribute("aria-labelledby", this.title.id);
      this.message = make("p", "stage-message", this.stage);
      this.marks = drawn("svg", this.stage);
      this.marks.setAttribute("class", "marks");
      this.marks.setAttribute("aria-hidden", "true");
      this.facts = make("p", "facts", this.box);
      this.notes = make("ul", "film-notes", this.box);
      this.table = new Uint8Array(65536);
      this.film = null;
      this.link = null;
      this.frame = 0;
      this.makeCanvas(renderer === "2d");
      this.resetView();
      this.listen();
      this.size = null;
      const observer = new ResizeObserver(([{ devicePixelContentBoxSize: size }]) => {
        // In whole pixels of the screen, else the browser would blur the canvas by a fraction of one.
        if (size) this.size = [size[0].inlineSize, size[0].blockSize];
        this.resize();
      });
      try {
        observer.observe(this.stage, { box: "device-pixel-content-box" });
      } catch {
        observer.observe(this.stage);
      }
    }

    makeCanvas(isFlat) {
      this.canvas?.remove();
      this.canvas = document.createElement("canvas");
      this.stage.prepend(this.canvas);
      try {
        this.renderer = isFlat ? new FlatRenderer(this.canvas) : new GpuRenderer(this.canvas);
      } catch {
        this.canvas.remove();
        this.makeCanvas(true);
        return;
      }
      this.stage.dataset.renderer = this.renderer.constructor.name;
      this.canvas.addEventListener("webglcontextlost", (event) => {
        event.preventDefault();
        this.fallBack();
      });
    }

    // The graphics card cannot do it: everything is drawn on a plain canvas from here on.
    fallBack() {
      this.makeCanvas(true);
      if (!this.film) return;
      this.renderer.setFilm(this.film);
      this.resize();
      this.applyWindow();
    }

    resetView() {
      this.isInverted = false;
      this.turns = 0;
      this.isFitted = true;
      this.zoom = 1;
      this.pan = [0, 0];
      this.ruler = null;
      this.cursor = null;
      if (this.film) this.window = { ...this.film.header.presets[this.film.header.preset] };
    }

    async show(link) {
      this.link = link;
      for (const other of document.querySelectorAll(".strip a[data-pixels]")) {
        other.toggleAttribute("data-shown", panes.some((pane) => pane.link === other));
        if (other.hasAttribute("data-shown")) other.setAttribute("aria-current", "true");
        else other.removeAttribute("aria-current");
      }
      this.title.textContent = link.dataset.label;
      this.stage.dataset.state = "loading";
      this.say("The film is being loaded.");
      performance.mark("film-asked");
      let film;
      try {
        film = await load(link.dataset.pixels);
        if (this.link !== link) return;
        this.film = film;
        try {
          this.renderer.setFilm(film);
        } catch {
          this.makeCanvas(true);
          this.renderer.setFilm(film);
        }
      } catch (error) {
        if (this.link !== link) return;
        this.film = null;
        this.notes.replaceChildren();
        this.facts.textContent = "";
        this.stage.dataset.state = "failed";
        const fault = error instanceof TypeError ? "The server does not answer." : error.message;
        this.say(`${fault} Open its picture below, or load the page again.`);
        announce(fault);
        showTools();
        return;
      }
      this.resetView();
      this.notes.replaceChildren(...[...film.header.notes, describeSpacing(film.header)].filter(Boolean).map((text) => {
        const line = document.createElement("li");
        line.textContent = text;
        return line;
      }));
      this.say("");
      this.resize();
      this.applyWindow();
      this.drawNow();
      this.stage.dataset.state = "ready";
      // It is on the screen with the frame after next; `nightdraft bench viewer` reads the mark.
      requestAnimationFrame(() => requestAnimationFrame(() => performance.mark("film-shown")));
      showTools();
    }

    say(text) {
      this.message.textContent = text;
      this.message.hidden = !text;
    }

    // -- Geometry --

    get ratio() {
      return window.devicePixelRatio || 1;
    }

    resize() {
      const [width, height] = (this.size ?? [this.stage.clientWidth * this.ratio, this.stage.clientHeight * this.ratio]).map((side) => Math.max(1, Math.round(side)));
      if (this.canvas.width !== width || this.canvas.height !== height) {
        this.canvas.width = width;
        this.canvas.height = height;
      }
      this.draw();
    }

    fittedZoom() {
      const { rows, columns, aspect } = this.film.header;
      const [wide, high] = this.turns % 2 ? [rows * aspect, columns] : [columns, rows * aspect];
      return Math.min(this.canvas.width / wide, this.canvas.height / high);
    }

    // The canvas's point of a film's point, as [a, b, c, d, e, f] of a DOMMatrix.
    placement(zoom = this.zoom, middle = null, isSnapped = true) {
      const { rows, columns, aspect } = this.film.header;
      const turn = TURNS[this.turns];
      const scale = [zoom, zoom * aspect];
      const [a, b, c, d] = [turn[0] * scale[0], turn[1] * scale[0], turn[2] * scale[1], turn[3] * scale[1]];
      const [atX, atY] = middle ? middle.film : [columns / 2, rows / 2];
      const [toX, toY] = middle ? middle.screen : [this.canvas.width / 2 + this.pan[0], this.canvas.height / 2 + this.pan[1]];
      let [e, f] = [toX - a * atX - c * atY, toY - b * atX - d * atY];
      if (isSnapped && Number.isInteger(zoom) && aspect === 1) [e, f] = [Math.round(e), Math.round(f)]; // each pixel is one of the screen
      return new DOMMatrix([a, b, c, d, e, f]);
    }

    viewOf(placement, zoom) {
      const { aspect } = this.film.header;
      const { a, b, c, d, e, f } = placement.inverse();
      const least = Math.min(zoom, zoom * aspect);
      return {
        a, b, c, d, e, f,
        step: [1 / zoom, 1 / (zoom * aspect)],
        taps: least < 1 ? Math.min(MOST_TAPS, Math.ceil(1 / least)) : 1,
        isSmooth: !(zoom === 1 && aspect === 1),
      };
    }

    toFilm([x, y]) {
      const point = this.placement().inverse().transformPoint(new DOMPoint(x, y));
      return [point.x, point.y];
    }

    toScreen([x, y]) {
      const point = this.placement().transformPoint(new DOMPoint(x, y));
      return [point.x, point.y];
    }

    // -- Drawing --

    draw() {
      if (!this.frame) this.frame = requestAnimationFrame(() => this.drawNow());
    }

    drawNow() {
      cancelAnimationFrame(this.frame);
      this.frame = 0;
      if (!this.film) return;
      if (this.isFitted) {
        this.zoom = this.fittedZoom();
        this.pan = [0, 0];
      }
      this.renderer.draw(this.viewOf(this.placement(), this.zoom), null);
      this.marks.replaceChildren();
      this.marks.setAttribute("viewBox", `0 0 ${this.canvas.width} ${this.canvas.height}`);
      if (tool === "magnify" && this.cursor && this === active) this.drawLens();
      if (this.ruler) this.drawRuler();
      else if (tool === "ruler" && this.cursor && this === active) this.drawCross(this.cursor);
      this.showFacts();
    }

    drawLens() {
      const side = Math.round(LENS_SIDE * this.ratio);
      const [x, y] = this.toScreen(this.cursor);
      const part = { x: Math.round(x - side / 2), y: Math.round(y - side / 2), side };
      const zoom = Math.max(this.zoom * LENS_ZOOM, Math.min(2, MOST_ZOOM));
      this.renderer.draw(this.viewOf(this.placement(zoom, { film: this.cursor, screen: [x, y] }), zoom), part);
      const frame = drawn("rect", this.marks);
      for (const [name, value] of Object.entries({ x: part.x, y: part.y, width: side, height: side })) frame.setAttribute(name, value);
    }

    line(from, to, className) {
      const line = drawn("line", this.marks);
      line.setAttribute("class", className);
      for (const [name, value] of Object.entries({ x1: from[0], y1: from[1], x2: to[0], y2: to[1] })) line.setAttribute(name, value);
    }

    drawCross(point) {
      const [x, y] = this.toScreen(point);
      const arm = 10 * this.ratio;
      for (const name of ["under", "over"]) {
        this.line([x - arm, y], [x + arm, y], name);
        this.line([x, y - arm], [x, y + arm], name);
      }
    }

    drawRuler() {
      const { from, to } = this.ruler;
      const ends = [this.toScreen(from), this.toScreen(to)];
      for (const name of ["under", "over"]) this.line(...ends, name);
      for (const end of [from, to]) this.drawCross(end);
      const text = drawn("text", this.marks);
      const size = 14 * this.ratio;
      text.textContent = describeLength(this.film.header, from, to);
      text.setAttribute("font-size", size);
      const wide = text.getComputedTextLength();
      const beside = Math.max(ends[0][0], ends[1][0]) + size;
      const x = beside + wide < this.canvas.width ? beside : Math.min(ends[0][0], ends[1][0]) - size - wide;
      text.setAttribute("x", Math.min(this.canvas.width - wide - size / 2, Math.max(size / 2, x)));
      const isOver = x < size / 2; // it has no room beside the line, and goes below it
      const y = isOver ? Math.max(ends[0][1], ends[1][1]) + 2 * size : (ends[0][1] + ends[1][1]) / 2;
      text.setAttribute("y", Math.min(this.canvas.height - size, Math.max(size * 1.5, y)));
    }

    showFacts() {
      const { header } = this.film;
      const parts = [`${header.film_columns} x ${header.film_rows}`, `${(100 * this.zoom).toFixed(this.zoom < 0.1 ? 1 : 0)}%`, describeWindow(this.window)];
      if (this.turns) parts.push(`turned by ${90 * this.turns}°`);
      if (this.isInverted) parts.push("inverted");
      this.facts.textContent = parts.join(" · ");
    }

    // -- What buttons, keys and dragging do --

    applyWindow() {
      greyTable(this.film, this.window, this.isInverted, this.table);
      this.renderer.setTable(this.table);
      this.draw();
    }

    usePreset(number) {
      const preset = this.film?.header.presets[number];
      if (!preset) return;
      this.window = { ...preset };
      this.applyWindow();
      announce(`${preset.name}. ${describeWindow(this.window)}.`);
      showTools();
    }

    // By so many pixels of dragging: up is brighter, to the right is less contrast.
    changeWindow(brighter, wider) {
      if (!this.film || (!brighter && !wider)) return;
      const { header } = this.film;
      const step = (Math.abs(header.slope) * Math.max(1, header.range[1] - header.range[0])) / DRAG_RANGE;
      if (this.window.function === "LUT") {
        // A lookup table has no centre and width: the window that is nearest to it takes its place.
        this.window = { ...this.window, function: "LINEAR_EXACT" };
      }
      const isDarkLow = header.inverted === this.isInverted;
      this.window.centre += (isDarkLow ? -1 : 1) * brighter * step;
      const least = this.window.function === "LINEAR" ? 2 : 0; // PS3.3 C.11.2.1.2.1 divides by the width less one
      this.window.width = Math.max(least, 2 * Math.abs(header.slope), this.window.width + wider * step);
      this.window.name = "";
      this.applyWindow();
      announce(`${describeWindow(this.window)}.`);
      showTools();
    }

    invert() {
      if (!this.film) return;
      this.isInverted = !this.isInverted;
      this.applyWindow();
      announce(this.isInverted ? "Inverted." : "Not inverted.");
    }

    turn(quarters) {
      if (!this.film) return;
      this.turns = (this.turns + quarters + 4) % 4;
      const [x, y] = this.pan;
      this.pan = quarters === 1 ? [-y, x] : [y, -x];
      this.draw();
      announce(this.turns ? `Turned by ${90 * this.turns} degrees.` : "Upright.");
    }

    zoomTo(zoom, point = [this.canvas.width / 2, this.canvas.height / 2]) {
      if (!this.film) return;
      const before = this.placement(this.zoom, null, false).inverse().transformPoint(new DOMPoint(...point));
      const fixed = [before.x, before.y];
      this.isFitted = false;
      this.zoom = Math.min(MOST_ZOOM, Math.max(this.fittedZoom() / 4, zoom));
      const now = this.placement(this.zoom, null, false).transformPoint(new DOMPoint(...fixed));
      this.pan = [this.pan[0] + point[0] - now.x, this.pan[1] + point[1] - now.y];
      this.draw();
      announce(`${Math.round(100 * this.zoom)} percent.`);
      showTools();
    }

    move(x, y) {
      if (!this.film) return;
      this.isFitted = false;
      this.pan = [this.pan[0] + x, this.pan[1] + y];
      this.draw();
      showTools();
    }

    fit() {
      this.isFitted = true;
      this.draw();
      showTools();
      announce("The whole film.");
    }

    one() {
      this.zoomTo(1);
    }

    reset() {
      if (!this.film) return;
      this.resetView();
      this.applyWindow();
      announce("As it was at first.");
      showTools();
    }

    // The cross of the ruler and the lens of the magnifier, moved by keys.
    moveCursor(x, y) {
      this.cursor ??= this.toFilm([this.canvas.width / 2, this.canvas.height / 2]);
      const [atX, atY] = this.toScreen(this.cursor);
      const edge = [this.canvas.width, this.canvas.height];
      this.cursor = this.toFilm([Math.min(edge[0], Math.max(0, atX + x)), Math.min(edge[1], Math.max(0, atY + y))]);
      if (this.ruler?.isOpen) this.ruler.to = this.cursor;
      this.draw();
    }

    setPoint() {
      this.cursor ??= this.toFilm([this.canvas.width / 2, this.canvas.height / 2]);
      if (this.ruler?.isOpen) {
        this.ruler = { from: this.ruler.from, to: this.cursor, isOpen: false };
        announce(describeLength(this.film.header, this.ruler.from, this.ruler.to));
      } else {
        this.ruler = { from: this.cursor, to: this.cursor, isOpen: true };
        announce("The ruler begins here. Move on, and press Enter at its end.");
      }
      this.draw();
    }

    // -- The pointer --

    at(event) {
      const box = this.canvas.getBoundingClientRect();
      return [(event.clientX - box.left) * this.ratio, (event.clientY - box.top) * this.ratio];
    }

    listen() {
      const { stage } = this;
      const fingers = new Map();
      let drag = null;
      const choose = () => activate(this);
      this.box.addEventListener("focusin", choose);
      this.box.addEventListener("pointerdown", choose);
      stage.addEventListener("contextmenu", (event) => event.preventDefault());
      stage.addEventListener("pointerdown", (event) => {
        if (!this.film) return;
        event.preventDefault();
        stage.focus({ preventScroll: true });
        stage.setPointerCapture(event.pointerId);
        const point = this.at(event);
        fingers.set(event.pointerId, point);
        const does = event.button === 2 ? "window" : event.button === 1 || fingers.size > 1 ? "pan" : tool;
        drag = { does, last: point, first: point };
        this.cursor = this.toFilm(point);
        if (does === "ruler" && !this.ruler?.isOpen) this.ruler = { from: this.cursor, to: this.cursor, isOpen: true, isNew: true };
        this.draw();
      });
      stage.addEventListener("pointermove", (event) => {
        if (!this.film) return;
        const point = this.at(event);
        if (tool === "magnify" || tool === "ruler") {
          this.cursor = this.toFilm(point);
          if (this.ruler?.isOpen) this.ruler.to = this.cursor;
          this.draw();
        }
        if (!drag || !fingers.has(event.pointerId)) return;
        if (fingers.size === 2) {
          const [one, two] = [...fingers.entries()].map(([id, at]) => (id === event.pointerId ? [at, point] : [at, at]));
          const span = (number) => Math.hypot(one[number][0] - two[number][0], one[number][1] - two[number][1]) || 1;
          this.zoomTo((this.zoom * span(1)) / span(0), point);
        }
        const [x, y] = [point[0] - drag.last[0], point[1] - drag.last[1]];
        if (drag.does === "window") this.changeWindow(-y / this.ratio, x / this.ratio);
        else if (drag.does === "pan") this.move(x, y);
        drag.last = point;
        fingers.set(event.pointerId, point);
      });
      const end = (event) => {
        fingers.delete(event.pointerId);
        if (!drag || fingers.size) return;
        const { does, first, last } = drag;
        drag = null;
        if (does !== "ruler" || !this.ruler) return;
        const isClick = Math.hypot(last[0] - first[0], last[1] - first[1]) < CLICK_SLACK * this.ratio;
        if (isClick && this.ruler.isNew) this.ruler.isNew = false; // the next click is its end
        else {
          this.ruler = { from: this.ruler.from, to: this.toFilm(last), isOpen: false };
          announce(describeLength(this.film.header, this.ruler.from, this.ruler.to));
        }
        this.draw();
      };
      stage.addEventListener("pointerup", end);
      stage.addEventListener("pointercancel", end);
      stage.addEventListener("pointerleave", () => {
        if (tool === "magnify" && !drag && document.activeElement !== stage) {
          this.cursor = null;
          this.draw();
        }
      });
      stage.addEventListener("wheel", (event) => {
        if (!this.film) return;
        event.preventDefault();
        choose();
        this.zoomTo(this.zoom * (event.deltaY < 0 ? ZOOM_STEP : 1 / ZOOM_STEP), this.at(event));
      }, { passive: false });
      stage.addEventListener("dblclick", () => tool !== "ruler" && this.fit());
    }
  }

  // --- Words ---

  function rounded(value) {
    return Number(value.toPrecision(4)).toString();
  }

  function describeWindow(window_) {
    const words = `centre ${rounded(window_.centre)}, width ${rounded(window_.width)}`;
    return window_.function === "LUT" ? `lookup table ${window_.name}` : words;
  }

  const MEASURED_AT = {
    DETECTOR: "at the detector",
    CALIBRATED: "calibrated",
    SCANNED: "on the scanned film",
    UNKNOWN: "not said where",
  };

  function describeSpacing({ spacing }) {
    if (!spacing) return "The header gives no spacing of pixels, so the ruler measures in pixels.";
    const words = {
      DETECTOR: "Millimetres are measured at the detector. What lies before it is smaller than that.",
      CALIBRATED: "Millimetres are calibrated by the sender.",
      SCANNED: "Millimetres are measured on the scanned film.",
      UNKNOWN: "The header does not say whether millimetres are at the detector or calibrated.",
    };
    return words[spacing.at];
  }

  function describeLength({ spacing }, from, to) {
    const [x, y] = [to[0] - from[0], to[1] - from[1]];
    if (!spacing) return `${Math.hypot(x, y).toFixed(1)} pixels`;
    const length = Math.hypot(x * spacing.columns, y * spacing.rows);
    return `${length.toFixed(1)} mm, ${MEASURED_AT[spacing.at]}`;
  }

  let sayingTimer = 0;
  // Only where it ends, and not on its way: a drag would be read out for a minute.
  function announce(text) {
    clearTimeout(sayingTimer);
    sayingTimer = setTimeout(() => {
      news.textContent = panes.length > 1 ? `${active.isEarlier ? "Earlier study" : "This study"}. ${text}` : text;
    }, SAID_AFTER);
  }

  // --- The tools ---

  function activate(pane) {
    if (active === pane) return;
    active = pane;
    for (const other of panes) {
      other.box.classList.toggle("active", panes.length > 1 && other === active);
      other.draw();
    }
    showTools();
  }

  function showTools() {
    const film = active?.film;
    const pressed = {
      "tool-window": tool === "window",
      "tool-pan": tool === "pan",
      "tool-magnify": tool === "magnify",
      "tool-ruler": tool === "ruler",
      fit: Boolean(film) && active.isFitted,
      one: Boolean(film) && !active.isFitted && active.zoom === 1,
      invert: Boolean(film) && active.isInverted,
      compare: panes.length > 1,
      wide: Boolean(reading?.classList.contains("wide-films")),
    };
    for (const [does, isPressed] of Object.entries(pressed)) {
      root.querySelector(`[data-does="${does}"]`)?.setAttribute("aria-pressed", String(isPressed));
    }
    const names = film ? film.header.presets.map((preset) => preset.name) : [];
    const current = film ? film.header.presets.findIndex((preset) => preset.name === active.window.name) : -1;
    if (film && current < 0) names.push("As set by hand");
    if ([...presets.options].map((option) => option.text).join("\n") !== names.join("\n")) {
      presets.replaceChildren(...names.map((name, number) => new Option(name, String(number))));
    }
    presets.disabled = !film;
    presets.value = String(current < 0 ? names.length - 1 : current);
  }

  function setTool(name) {
    tool = name;
    root.dataset.tool = name;
    for (const pane of panes) {
      if (pane.ruler?.isOpen) pane.ruler = null;
      if ((name === "magnify" || name === "ruler") && pane === active && pane.film) {
        pane.cursor ??= pane.toFilm([pane.canvas.width / 2, pane.canvas.height / 2]);
      }
      pane.draw();
    }
    showTools();
    announce({
      window: "Dragging changes the window.",
      pan: "Dragging moves the film.",
      magnify: "The magnifier follows the pointer and the arrow keys.",
      ruler: "Drag along what is measured, or click at both ends, or move the cross by arrow keys and press Enter at both ends.",
    }[name]);
  }

  function widen(isWide) {
    reading?.classList.toggle("wide-films", isWide);
    showTools();
  }

  function compare(link) {
    if (panes.length > 1 && !link) {
      const [first, second] = panes;
      second.film = null;
      second.renderer.gl?.getExtension("WEBGL_lose_context")?.loseContext(); // a page may have only so many
      second.box.remove();
      second.link?.removeAttribute("aria-current");
      panes.length = 1;
      root.classList.remove("compares");
      active = null;
      activate(first);
      announce("The earlier study is put away.");
      return;
    }
    const offered = [...document.querySelectorAll("a[data-earlier][data-pixels]")];
    const position = panes[0].link?.dataset.position;
    const chosen = link ?? offered.find((other) => position && other.dataset.position === position) ?? offered[0];
    if (!chosen) return;
    if (panes.length === 1) {
      root.classList.add("compares");
      panes.push(new Pane(true));
      if (window.innerWidth < 1800) widen(true);
    }
    panes[1].show(chosen);
    activate(panes[1]);
    announce(`${chosen.dataset.label} beside it.`);
  }

  const doing = {
    "tool-window": () => setTool("window"),
    "tool-pan": () => setTool(tool === "pan" ? "window" : "pan"),
    "tool-magnify": () => setTool(tool === "magnify" ? "window" : "magnify"),
    "tool-ruler": () => setTool(tool === "ruler" ? "window" : "ruler"),
    "zoom-in": () => active.zoomTo(active.zoom * ZOOM_STEP),
    "zoom-out": () => active.zoomTo(active.zoom / ZOOM_STEP),
    fit: () => active.fit(),
    one: () => active.one(),
    left: () => active.move(-PAN_STEP * active.ratio, 0),
    right: () => active.move(PAN_STEP * active.ratio, 0),
    up: () => active.move(0, -PAN_STEP * active.ratio),
    down: () => active.move(0, PAN_STEP * active.ratio),
    brighter: () => active.changeWindow(KEY_STEP, 0),
    darker: () => active.changeWindow(-KEY_STEP, 0),
    "more-contrast": () => active.changeWindow(0, -KEY_STEP),
    "less-contrast": () => active.changeWindow(0, KEY_STEP),
    invert: () => {
      active.invert();
      showTools();
    },
    "turn-left": () => active.turn(-1),
    "turn-right": () => active.turn(1),
    compare: () => compare(),
    wide: () => widen(!reading?.classList.contains("wide-films")),
    reset: () => {
      setTool("window");
      active.reset();
    },
  };

  // Single letters, which the page's table of keys takes where there is one.
  const LETTERS = [
    ["w", "Dragging changes the window", doing["tool-window"]],
    ["p", "Dragging moves the film", doing["tool-pan"]],
    ["m", "Magnifier", doing["tool-magnify"]],
    ["l", "Ruler", doing["tool-ruler"]],
    ["f", "The whole film", doing.fit],
    ["o", "Each pixel of the film as one of the screen", doing.one],
    ["i", "Invert the film", doing.invert],
    ["r", "Turn the film to the right", doing["turn-right"]],
    ["R", "Turn the film to the left", doing["turn-left"]],
    ["t", "The earlier study beside it", doing.compare],
    ["b", "Brighter", doing.brighter],
    ["v", "Darker", doing.darker],
    ["c", "More contrast", doing["more-contrast"]],
    ["C", "Less contrast", doing["less-contrast"]],
    ["+", "Larger", doing["zoom-in"]],
    ["-", "Smaller", doing["zoom-out"]],
    ["0", "The film as it was at first", doing.reset],
    ...[1, 2, 3, 4, 5].map((number) => [String(number), `Window ${number} of the list`, () => active.usePreset(number - 1)]),
  ];

  const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

  // Within the viewer every key works; outside of it, those that the page's table of keys gives.
  root.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.altKey || event.metaKey) return;
    const isOnFilm = event.target.classList?.contains("stage");
    if (event.target === presets) return;
    const arrow = ARROWS[event.key];
    if (isOnFilm && arrow && active.film) {
      if (tool === "magnify" || tool === "ruler") {
        const step = (event.shiftKey ? 1 : 10) * active.ratio;
        active.moveCursor(arrow[0] * step, arrow[1] * step);
      } else active.move(arrow[0] * PAN_STEP * active.ratio, arrow[1] * PAN_STEP * active.ratio);
    } else if (isOnFilm && event.key === "Enter" && tool === "ruler" && active.film) active.setPoint();
    else if (isOnFilm && event.key === "Escape" && tool !== "window") setTool("window");
    else {
      const letter = LETTERS.find(([key]) => key === event.key || (key === "+" && event.key === "="));
      if (!letter) return;
      letter[2]();
    }
    event.preventDefault(); // it goes on to the document, where it counts as use of the page
  });

  const bar = root.querySelector(".tools");
  const buttons = [...bar.querySelectorAll("button")];
  bar.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button) doing[button.dataset.does]();
  });
  // One stop of the Tab key for all; arrow keys move within.
  function stopAt(button) {
    for (const other of buttons) other.tabIndex = other === button ? 0 : -1;
  }
  stopAt(buttons[0]);
  bar.addEventListener("focusin", (event) => stopAt(event.target.closest("button")));
  bar.addEventListener("keydown", (event) => {
    const at = buttons.indexOf(document.activeElement);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: buttons.length - 1 }[event.key];
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    buttons[(to + buttons.length) % buttons.length].focus();
  });
  presets.addEventListener("change", () => active.usePreset(Number(presets.value)));

  for (const link of document.querySelectorAll(".strip a[data-pixels]")) {
    link.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return; // its picture in another tab
      event.preventDefault();
      if (link.hasAttribute("data-earlier")) compare(link);
      else {
        panes[0].show(link);
        activate(panes[0]);
      }
      root.scrollIntoView({ block: "nearest" });
    });
  }

  root.hidden = false;
  root.closest(".films").classList.add("has-viewer");
  panes.push(new Pane(false));
  setTool("window");
  clearTimeout(sayingTimer); // nothing has happened yet
  activate(panes[0]);
  const own = [...document.querySelectorAll(".strip a[data-pixels]:not([data-earlier])")];
  const first = panes[0].show(own[0]);
  // The others are there when they are asked for.
  first.then(async () => {
    for (const link of own.slice(1, FILMS_KEPT - 1)) await load(link.dataset.pixels).catch(() => {});
  });
  document.addEventListener("DOMContentLoaded", () => {
    const table = window.nightdraftKeys;
    if (table) for (const [key, words, does] of LETTERS.filter(([key]) => "ifr12345".includes(key))) table.register(key, words, does, "films");
  });
})();
