// Rows of images that fill the width, without cropping any.
const MAX_GROWTH = 1.8; // a row that would be higher stays narrower than the width
const GAP_COST = 1; // of such a row, as much as one that is 2.7 times too high

/**
 * Split images of these proportions into rows whose heights are as near to `height` as possible.
 * Returns a list of [number of images, height].
 */
export function rows(ratios, width, gap, height) {
  const best = [{ cost: 0 }]; // for the first so many images: the cost of their rows, and the last of these
  for (let end = 1; end <= ratios.length; end++) {
    best[end] = { cost: Infinity };
    let sum = 0;
    for (let start = end - 1; start >= 0; start--) {
      sum += ratios[start];
      const filling = (width - gap * (end - start - 1)) / sum;
      const isNarrow = filling > height * MAX_GROWTH;
      const cost = best[start].cost + Math.log(filling / height) ** 2 + (isNarrow ? GAP_COST : 0);
      if (cost < best[end].cost) {
        best[end] = { cost, before: best[start], row: [end - start, Math.min(filling, height * MAX_GROWTH)] };
      }
      if (filling < height / 4) break;
    }
  }
  const layout = [];
  for (let part = best[ratios.length]; part.row; part = part.before) layout.unshift(part.row);
  return layout;
}
