/* Numbers in words, as pages/shared/layout.py writes them. */

import { tr } from "../shared/language.js";

export const grouped = (value) => value.toLocaleString("en");

export function rounded(value) {
	const size = Math.abs(value);
	if (!Number.isFinite(value)) return tr("not finite");
	if (size === 0) return "0";
	if (size >= 1e15 || size < 1e-4) return value.toExponential(2);
	if (size >= 100) return Math.round(value).toLocaleString("en");
	return Number(value.toPrecision(3)).toLocaleString("en", {
		minimumSignificantDigits: 3,
		maximumSignificantDigits: 3,
	});
}

export function inPercent(value) {
	if (value > 0.999 && value < 1) {
		const digits = Math.min(8, Math.ceil(-Math.log10(1 - value)) - 1);
		const cut = Math.floor(value * 10 ** (digits + 2)) / 10 ** digits;
		return `${cut.toFixed(digits)} %`;
	}
	return `${rounded(100 * value)} %`;
}

/* A share of the energy in words, or the two that it certainly lies between. */
export const shareOrBand = (low, high) =>
	high === undefined
		? inPercent(low)
		: tr("{low} to {high}", { low: inPercent(low), high: inPercent(high) });
