"use strict";
// The scene on a canvas: Gaussians and their paint, the camera, the box around what is selected.

const EDGES = [0, 1, 2, 3, 4, 5, 6, 7, 0, 2, 1, 3, 4, 6, 5, 7, 0, 4, 1, 5, 2, 6, 3, 7];
const FOV = 60;
// What is drawn at first of a large scene, so that something is there soon, and what is drawn where drawing is slow.
const COARSE = { above: 100000, splats: 60000, pixels: 150000 };

class View {
  // stage: the element to draw into. scene: the page's document. onDrawn: called after each frame.
  constructor(stage, scene, onDrawn) {
    const S = Splatting;
    this.stage = stage;
    this.scene = scene;
    this.onDrawn = onDrawn;
    this.renderer = new S.WebGLRenderer({ antialias: false, powerPreference: "high-performance" });
    this.renderer.setClearColor(0x0d0e10, 1);
    stage.prepend(this.renderer.domElement);
    this.camera = new S.PerspectiveCamera(FOV, 1, 0.01, 10000);
    this.world = new S.Scene();
    // Splats trained without anti-aliasing were drawn 0.3 square pixels wider; with it their opacity makes up for that.
    const blur = scene.antialiased ? { preBlurAmount: 0, blurAmount: 0.3 } : { preBlurAmount: 0.3, blurAmount: 0 };
    this.spark = new S.SparkRenderer({
      renderer: this.renderer, onDirty: () => this.request(), accumExtSplats: true, enableLod: false, ...blur,
    });
    this.world.add(this.spark);
    // The scene's own axes, turned so that up is three.js's y.
    this.upright = new S.Quaternion().setFromUnitVectors(new S.Vector3(...scene.up).normalize(), new S.Vector3(0, 1, 0));
    this.controls = new S.OrbitControls(this.camera, this.renderer.domElement);
    this.controls.enableDamping = !matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.controls.dampingFactor = 0.12;
    this.controls.zoomToCursor = true;
    this.controls.addEventListener("change", () => this.request());
    this.outline = new S.LineSegments(new S.BufferGeometry(),
      new S.LineBasicMaterial({ color: 0xffd646, depthTest: false, transparent: true }));
    this.outline.quaternion.copy(this.upright);
    this.outline.renderOrder = 10;
    this.outline.frustumCulled = false;
    this.outline.visible = false;
    this.world.add(this.outline);
    this.labelled = 1; // 1: object colours, 0: the photo's
    this.stride = scene.splats > COARSE.above ? Math.ceil(scene.splats / COARSE.splats) : 1;
    this.fine = this.stride === 1;
    this.home();
    new ResizeObserver(() => this.resize()).observe(stage);
    this.resize();
  }

  async load(bytes) {
    const S = Splatting, { dyno } = S;
    this.paint = new S.RgbaArray({ array: new Uint8Array(4 * this.scene.splats).fill(255), count: this.scene.splats });
    this.flat = new dyno.DynoFloat({ value: this.labelled });
    this.spot = new dyno.DynoFloat({ value: 0 });
    this.grown = new dyno.DynoFloat({ value: 1 });
    this.large = new dyno.DynoFloat({ value: this.scene.large });
    const repaint = dyno.dynoBlock({ gsplat: dyno.Gsplat }, { gsplat: dyno.Gsplat }, ({ gsplat }) => {
      const paint = S.readRgbaArray(this.paint.dyno, dyno.splitGsplat(gsplat).outputs.index);
      return new dyno.Dyno({
        inTypes: { gsplat: dyno.Gsplat, paint: "vec4", flat: "float", spot: "float", grown: "float", large: "float" },
        outTypes: { gsplat: dyno.Gsplat },
        inputs: { gsplat, paint, flat: this.flat, spot: this.spot, grown: this.grown, large: this.large },
        // The paint's alpha says what is done: 0 hides, a half greys, one keeps.
        statements: ({ inputs: i, outputs: o }) => [
          `${o.gsplat} = ${i.gsplat};`,
          `{`,
          `  vec3 photo = clamp(${i.gsplat}.rgba.rgb, 0.0, 1.0);`,
          `  const vec3 light = vec3(0.299, 0.587, 0.114);`,
          `  vec3 color = mix(photo, ${i.paint}.rgb * (0.45 + 0.55 * dot(photo, light)), ${i.flat});`,
          `  if (${i.paint}.a < 0.75) color = vec3(0.45 * dot(color, light) + 0.086);`,
          `  else if (${i.spot} > 0.5) color = 1.0 - (1.0 - color) * 0.75;`,
          `  ${o.gsplat}.rgba.rgb = color;`,
          `  vec3 scales = ${i.gsplat}.scales;`,
          `  float longest = max(max(scales.x, scales.y), max(scales.z, 1e-9));`, // what is large already stays so
          `  ${o.gsplat}.scales = scales * max(1.0, min(${i.grown}, ${i.large} / longest));`,
          `  if (${i.paint}.a < 0.25) {`, // not even sorted
          `    ${o.gsplat}.rgba.a = 0.0;`,
          `    ${o.gsplat}.scales = vec3(0.0);`,
          `    ${o.gsplat}.flags = 0u;`,
          `  }`,
          `}`,
        ],
      }).outputs;
    });
    this.mesh = new S.SplatMesh({ fileBytes: bytes, fileType: "spz", extSplats: true, objectModifier: repaint });
    this.mesh.quaternion.copy(this.upright);
    this.world.add(this.mesh);
    await this.mesh.initialized;
    const found = this.mesh.splats.getNumSplats();
    if (found !== this.scene.splats) throw new Error(`The page holds ${found} splats of ${this.scene.splats}.`);
    if (!this.fine) this.left = this.leftOut(this.stride);
    this.request();
  }

  // The Gaussians that are left out of a coarse scene. Those of an object follow a curve through space, so that each
  // stride-th of them is everywhere; they are drawn as much larger as it takes to cover the same.
  leftOut(stride) {
    const left = new Uint32Array(this.scene.splats);
    let first = 0, count = 0;
    for (const splats of [...this.scene.objects.map((object) => object.splats), this.scene.unlabelled]) {
      for (let i = 0; i < splats; i++) if (i % stride) left[count++] = first + i;
      first += splats;
    }
    return left.subarray(0, count);
  }

  // Draw everything at full resolution, or coarsely.
  refine(fine) {
    this.fine = fine;
    this.resize();
    if (this.look) this.draw(this.look);
  }

  // Gaussians as flat arrays for picking; made when they are first needed.
  get gaussians() {
    if (this._gaussians) return this._gaussians;
    const n = this.scene.splats;
    const all = { center: new Float32Array(3 * n), scale: new Float32Array(3 * n), quat: new Float32Array(4 * n),
      opacity: new Float32Array(n), object: new Int32Array(n).fill(-1) };
    this.mesh.splats.forEachSplat((i, center, scales, quaternion, opacity) => {
      center.toArray(all.center, 3 * i);
      scales.toArray(all.scale, 3 * i);
      quaternion.toArray(all.quat, 4 * i);
      all.opacity[i] = opacity;
    });
    let first = 0;
    this.scene.objects.forEach((object, number) => { all.object.fill(number, first, first += object.splats); });
    return (this._gaussians = all);
  }

  // look: { hidden: Set of object numbers, unlabelled: bool, selected: number or -1 }
  draw(look) {
    this.look = look;
    const paint = this.paint.array;
    let first = 0;
    const fill = (count, [r, g, b], alpha) => {
      for (let i = 4 * first, end = 4 * (first + count); i < end; i += 4) {
        paint[i] = r; paint[i + 1] = g; paint[i + 2] = b; paint[i + 3] = alpha;
      }
      first += count;
    };
    const dimmed = look.selected >= 0;
    this.scene.objects.forEach((object, number) =>
      fill(object.splats, object.color, look.hidden.has(number) ? 0 : dimmed && number !== look.selected ? 128 : 255));
    fill(this.scene.unlabelled, [96, 96, 96], !look.unlabelled ? 0 : dimmed ? 128 : 255);
    if (!this.fine) for (const i of this.left) paint[4 * i + 3] = 0;
    this.paint.needsUpdate = true;
    this.spot.value = dimmed ? 1 : 0;
    this.flat.value = this.labelled;
    this.grown.value = this.fine ? 1 : Math.sqrt(this.stride);
    this.mesh.updateVersion();
    const corners = dimmed && !look.hidden.has(look.selected) ? this.scene.objects[look.selected].corners : null;
    this.outline.visible = corners !== null;
    if (corners) {
      const points = new Float32Array(EDGES.flatMap((corner) => corners[corner]));
      this.outline.geometry.setAttribute("position", new Splatting.BufferAttribute(points, 3));
    }
    this.request();
  }

  color(labelled) {
    this.labelled = labelled ? 1 : 0;
    if (this.look) this.draw(this.look);
  }

  request() {
    this._frame ??= requestAnimationFrame(() => {
      this._frame = undefined;
      this.controls.update();
      this.renderer.render(this.world, this.camera);
      this.onDrawn();
    });
  }

  // Resolves when the Gaussians are sorted and a frame of them is on the screen, the graphics card included.
  drawn() {
    return new Promise((resolve) => {
      const before = this.onDrawn;
      this.onDrawn = () => {
        before();
        if (!this.spark.activeSplats || this.spark.sorting) return this.request();
        const gl = this.renderer.getContext();
        gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(4)); // waits for it
        this.onDrawn = before;
        resolve();
      };
      this.request();
    });
  }

  // How long a frame takes to be on the screen, in milliseconds, from the moment on at which it is asked for.
  frameTime() {
    return new Promise((resolve) => {
      const before = this.onDrawn, gl = this.renderer.getContext(), start = performance.now();
      this.onDrawn = () => {
        before();
        this.onDrawn = before;
        const fence = gl.fenceSync(gl.SYNC_GPU_COMMANDS_COMPLETE, 0);
        gl.flush();
        const ask = () => {
          if (gl.getSyncParameter(fence, gl.SYNC_STATUS) !== gl.SIGNALED && !gl.isContextLost()) return setTimeout(ask, 4);
          gl.deleteSync(fence);
          resolve(performance.now() - start);
        };
        setTimeout(ask);
      };
      this.request();
    });
  }

  resize() {
    const { clientWidth: width, clientHeight: height } = this.stage;
    if (!width || !height) return;
    const full = Math.min(devicePixelRatio, 2);
    this.renderer.setPixelRatio(this.fine ? full : Math.min(full, Math.sqrt(COARSE.pixels / (width * height))));
    this.renderer.setSize(width, height, false);
    this.camera.aspect = width / height;
    this.camera.updateProjectionMatrix();
    this.request();
  }

  inWorld(point) { return new Splatting.Vector3(...point).applyQuaternion(this.upright); }
  inScene(vector) { return vector.clone().applyQuaternion(this.upright.clone().invert()).toArray(); }

  home() { this.lookFrom(this.inWorld(this.scene.eye), this.inWorld(this.scene.target), false); }

  // Move the camera to see target from eye, in a third of a second where motion is welcome.
  lookFrom(eye, target, smoothly = true) {
    cancelAnimationFrame(this._flight);
    const from = this.camera.position.clone(), middle = this.controls.target.clone(), start = performance.now();
    const step = () => {
      const share = smoothly && this.controls.enableDamping ? Math.min(1, (performance.now() - start) / 350) : 1;
      const eased = share * share * (3 - 2 * share);
      this.camera.position.lerpVectors(from, eye, eased);
      this.controls.target.lerpVectors(middle, target, eased);
      this.request();
      if (share < 1) this._flight = requestAnimationFrame(step);
    };
    step();
  }

  // The ray through a point of the page, in the scene's axes, and the angle of a pixel.
  ray(x, y) {
    const box = this.renderer.domElement.getBoundingClientRect(), S = Splatting;
    const at = new S.Vector2((2 * (x - box.left)) / box.width - 1, 1 - (2 * (y - box.top)) / box.height);
    const caster = new S.Raycaster();
    this.camera.updateMatrixWorld();
    caster.setFromCamera(at, this.camera);
    return { origin: this.inScene(caster.ray.origin), direction: this.inScene(caster.ray.direction), pixel: this.pixel(box.height) };
  }

  pixel(height = this.stage.clientHeight) { return (2 * Math.tan((FOV * Math.PI) / 360)) / height; }

  isHidden = (number) => (number < 0 ? !this.look.unlabelled : this.look.hidden.has(number));

  // The number of the object at a point of the page, or of the nearest one some pixels beside it; -1 for none.
  pick(x, y) {
    for (const radius of [0, 2, 4]) {
      for (let turn = 0; turn < (radius ? 8 : 1); turn++) {
        const angle = (turn * Math.PI) / 4;
        const { origin, direction, pixel } = this.ray(x + radius * Math.cos(angle), y + radius * Math.sin(angle));
        const found = Rays.firstObject(Rays.alongRay(this.gaussians, origin, direction, pixel, this.isHidden));
        if (found && found.object >= 0) return found.object;
      }
    }
    return -1;
  }

  // Come close to an object from where it is not hidden: from here if it can be, else from around it.
  goTo(number) {
    const { corners } = this.scene.objects[number];
    if (!corners) return;
    const S = Splatting;
    const points = corners.map((corner) => this.inWorld(corner));
    const middle = points[0].clone().add(points[7]).multiplyScalar(0.5), diameter = points[0].distanceTo(points[7]);
    const here = this.camera.position.clone().sub(middle);
    const distance = Math.min(Math.max(1.5 * diameter, 0.05), Math.max(here.length(), 1.5 * diameter));
    const azimuth = Math.atan2(here.z, here.x);
    let best = null;
    for (const lift of [null, 0.45, 0.15, 0.9]) {
      for (let turn = 0; turn < (lift === null ? 1 : 12) && !(best?.share > 0.7); turn++) {
        const angle = azimuth + ((turn % 2 ? -1 : 1) * Math.ceil(turn / 2) * Math.PI) / 6;
        const way = lift === null ? here.clone().normalize()
          : new S.Vector3(Math.cos(angle) * Math.cos(lift), Math.sin(lift), Math.sin(angle) * Math.cos(lift));
        const eye = middle.clone().addScaledVector(way, distance);
        const met = Rays.alongRay(this.gaussians, this.inScene(eye), this.inScene(way.clone().negate()), this.pixel(), this.isHidden);
        const share = (met.weights.get(number) ?? 0) / Math.max(met.total, 0.3);
        if (best === null || share > best.share + 0.05) best = { share, eye };
      }
    }
    this.lookFrom(best.eye, middle);
  }

  // Where the top of an object's box is on the stage, or null where it is behind the camera.
  topOf(number) {
    const { corners } = this.scene.objects[number];
    if (!corners) return null;
    const points = corners.map((corner) => this.inWorld(corner)).sort((a, b) => b.y - a.y).slice(0, 4);
    const top = points.reduce((sum, point) => sum.add(point), new Splatting.Vector3()).multiplyScalar(0.25);
    top.project(this.camera);
    if (top.z > 1 || Math.abs(top.x) > 1 || Math.abs(top.y) > 1) return null;
    return [(0.5 + 0.5 * top.x) * this.stage.clientWidth, (0.5 - 0.5 * top.y) * this.stage.clientHeight];
  }
}

globalThis.View = View;
