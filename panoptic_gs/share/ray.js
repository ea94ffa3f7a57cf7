"use strict";
// What a ray meets among Gaussians, by the blending that draws them. No DOM and no WebGL here.

const FAINTEST = 1 / 255; // alpha below which a Gaussian does not count
const REACH = 3.4; // standard deviations at which the most opaque one is that faint
const BLUR = 0.3; // square pixels that the renderer widens each Gaussian by

// Gaussians as flat arrays: center, scale [3N], quat [4N, xyzw], opacity [N], object [N].
// Gives the weight of each object along the ray, of everything, and the depth of each object's heaviest Gaussian.
function alongRay(gaussians, origin, direction, pixel, isHidden) {
  const { center, scale, quat, opacity, object } = gaussians;
  const [ox, oy, oz] = origin, [dx, dy, dz] = direction;
  const hits = [];
  for (let i = 0, n = opacity.length; i < n; i++) {
    const cx = center[3 * i] - ox, cy = center[3 * i + 1] - oy, cz = center[3 * i + 2] - oz;
    const along = cx * dx + cy * dy + cz * dz;
    if (along <= 0) continue;
    const blur = BLUR * (along * pixel) ** 2;
    const sx = scale[3 * i], sy = scale[3 * i + 1], sz = scale[3 * i + 2];
    const largest = Math.max(sx, sy, sz);
    const aside = cx * cx + cy * cy + cz * cz - along * along;
    if (aside > REACH * REACH * (largest * largest + blur)) continue;
    if (isHidden(object[i])) continue;
    // Into the Gaussian's own frame, where it is a unit sphere: q⁻¹ · v · q, then divided by the scales.
    const x = -quat[4 * i], y = -quat[4 * i + 1], z = -quat[4 * i + 2], w = quat[4 * i + 3];
    const turn = (vx, vy, vz) => {
      const tx = 2 * (y * vz - z * vy), ty = 2 * (z * vx - x * vz), tz = 2 * (x * vy - y * vx);
      return [
        (vx + w * tx + y * tz - z * ty) / Math.sqrt(sx * sx + blur),
        (vy + w * ty + z * tx - x * tz) / Math.sqrt(sy * sy + blur),
        (vz + w * tz + x * ty - y * tx) / Math.sqrt(sz * sz + blur),
      ];
    };
    const [px, py, pz] = turn(cx, cy, cz), [qx, qy, qz] = turn(dx, dy, dz);
    const square = qx * qx + qy * qy + qz * qz, at = (px * qx + py * qy + pz * qz) / square;
    const distance = px * px + py * py + pz * pz - at * at * square;
    const alpha = Math.min(0.999, opacity[i] * Math.exp(-0.5 * Math.max(distance, 0)));
    if (alpha >= FAINTEST) hits.push([along, alpha, object[i]]);
  }
  hits.sort((a, b) => a[0] - b[0]);
  const weights = new Map(), heaviest = new Map();
  let left = 1, total = 0;
  for (const [depth, alpha, owner] of hits) {
    const weight = left * alpha;
    weights.set(owner, (weights.get(owner) ?? 0) + weight);
    if (weight > (heaviest.get(owner)?.[0] ?? 0)) heaviest.set(owner, [weight, depth]);
    total += weight;
    left *= 1 - alpha;
    if (left < 1e-4) break;
  }
  return { weights, total, depth: new Map([...heaviest].map(([owner, [, depth]]) => [owner, depth])) };
}

// The object of most weight, its depth, and everything's weight; null where there is only haze.
function firstObject(met) {
  if (met.total < 0.3) return null;
  let best = null;
  for (const [owner, weight] of met.weights) if (best === null || weight > met.weights.get(best)) best = owner;
  return { object: best, depth: met.depth.get(best) };
}

globalThis.Rays = { alongRay, firstObject };
