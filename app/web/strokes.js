// Strokes and pictures on a square canvas; coordinates and widths are shares of its side.

/** Draw `{width, points}` from point `index` on; a single point is a dot. */
export function drawStroke(context, { width, points }, style, index = 0) {
  const side = context.canvas.width;
  Object.assign(context, {
    lineWidth: width * side, lineCap: "round", lineJoin: "round", strokeStyle: style,
  });
  const [first, ...others] = points.slice(index);
  context.beginPath();
  context.moveTo(first[0] * side, first[1] * side);
  for (const [x, y] of others) context.lineTo(x * side, y * side);
  if (others.length === 0) context.lineTo(first[0] * side + 0.01, first[1] * side); // of no length, nothing is drawn
  context.stroke();
}

/** Place of a `width` × `height` picture that is fitted into the square and centred. */
export function fitted({ width, height }) {
  const longest = Math.max(width, height);
  const [w, h] = [width / longest, height / longest];
  return { left: (1 - w) / 2, top: (1 - h) / 2, width: w, height: h };
}
