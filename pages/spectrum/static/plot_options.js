/* What the two plots of a matrix show: the scree plot, and the cumulative energy. */

import { tr } from "../shared/language.js";
import { grouped, rounded, shareOrBand } from "./numbers.js";

export function screeOptions(content, sigma, log) {
	const most = sigma[0] || 1;
	const smallest = sigma.reduce(
		(least, value) => (value > 0 && value < least ? value : least),
		most,
	);
	const low = log ? Math.max(smallest * 0.8, most * 1e-17) : 0;
	const lines = content.noise
		? [
				{ value: content.noise.threshold, text: tr("Gavish–Donoho") },
				{ value: content.noise.edge, text: tr("Marchenko–Pastur edge"), below: true },
			]
		: [];
	return {
		low,
		high: log && most <= low * 1.01 ? low * 10 : most * (log ? 1.2 : 1.04),
		log,
		lines,
		tick: (value) =>
			value === 0 || (value >= 0.01 && value < 1e5)
				? grouped(Number(value.toPrecision(2)))
				: value.toExponential(0).replace("e+", "e"),
		say: (k, value) => `σ ${grouped(k)} = ${rounded(value)}`,
	};
}

export const energyOptions = (content, energy, upper) => ({
	low: Math.max(0, Math.floor(Math.min(0.9, energy[0]) * 20 - 1) / 20),
	high: 1,
	upper,
	lines: content.marks.map(({ share }, place) => ({
		value: share,
		text: `${100 * share} %`,
		below: true,
		offset: 40 * place,
	})),
	tick: (value) => `${Math.round(value * 100)} %`,
	say: (k, value) => `k = ${grouped(k)}: ${shareOrBand(value, upper?.[k - 1])}`,
});
