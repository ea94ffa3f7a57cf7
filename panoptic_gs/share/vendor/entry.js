export { BufferAttribute, BufferGeometry, LineBasicMaterial, LineSegments, PerspectiveCamera, Quaternion, Raycaster, Scene, Vector2, Vector3, WebGLRenderer } from "three";
export { OrbitControls } from "three/addons/controls/OrbitControls.js";
export { RgbaArray, SparkRenderer, SplatMesh, dyno, readRgbaArray } from "@sparkjsdev/spark";
