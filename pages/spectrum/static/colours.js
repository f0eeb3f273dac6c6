/* Numbers to colours: two maps, and the range of values that a picture is drawn in. */

const BLUE = [37, 99, 235];
const ORANGE = [217, 103, 6];
const mix = (from, to, share) => from.map((value, i) => value + (to[i] - value) * share);
const pixel = ([r, g, b]) => (255 << 24) | (b << 16) | (g << 8) | r;

/* 256 colours: blue for negative, orange for positive, the page's own ground for zero. lift, below
   1, brings out small values, which sink into a dark ground. */
function diverging(ground, far, lift = 1) {
	const map = new Uint32Array(256);
	for (let i = 0; i < 256; i++) {
		const t = (i - 127.5) / 127.5;
		const side = t < 0 ? BLUE : ORANGE;
		const share = Math.abs(t) ** lift;
		const colour =
			share < 0.7 ? mix(ground, side, share / 0.7) : mix(side, far, ((share - 0.7) / 0.3) * 0.45);
		map[i] = pixel(colour.map(Math.round)) >>> 0;
	}
	return map;
}

function grey() {
	const map = new Uint32Array(256);
	for (let i = 0; i < 256; i++) map[i] = pixel([i, i, i]) >>> 0;
	return map;
}

export const colourMaps = () => {
	const dark = document.body.classList.contains("dark");
	return {
		signed: dark
			? diverging([38, 50, 72], [255, 255, 255], 0.7)
			: diverging([255, 255, 255], [10, 16, 40]),
		grey: grey(),
	};
};

/* The range a picture is drawn in. Grey from least to most for what looks like a picture: no
   negative number, and most of them well above zero. Else from -a to a, where a leaves out
   the most extreme 1 in 100. */
export const rangeOf = (values) => {
	let least = Infinity;
	let most = -Infinity;
	for (const value of values) {
		if (value < least) least = value;
		if (value > most) most = value;
	}
	const step = Math.max(1, Math.floor(values.length / 20000));
	const sizes = [];
	for (let i = 0; i < values.length; i += step) sizes.push(Math.abs(values[i]));
	sizes.sort((a, b) => a - b);
	const quantile = (share) => sizes[Math.floor((sizes.length - 1) * share)];
	if (least >= 0 && quantile(0.5) > 0.1 * most) {
		return { low: least === most ? 0 : least, high: most, map: "grey" };
	}
	const small = values.length < 1000; // too few to leave any out
	const reach = (small ? 0 : quantile(0.99)) || Math.max(-least, most) || 1;
	return { low: -reach, high: reach, map: "signed" };
};
