/* Texts with places, as the server gives them in the language of the page. */

export const say = (text, values) =>
	text.replace(/\{(\w+)\}/g, (place, name) => values[name] ?? place);

/* Digits as small signs below a letter: sub("σ", 3) -> "σ₃". */
export const sub = (letter, number) =>
	letter + String(number).replace(/\d/g, (digit) => "₀₁₂₃₄₅₆₇₈₉"[digit]);

/* At most `digits` places, a true minus, no "-0". */
export function shown(value, digits = 2) {
	const text = String(Number(value.toFixed(digits)));
	return text === "-0" ? "0" : text.replace("-", "−");
}

/* Three significant digits; small ones as 3.1·10⁻⁵. */
export function significant(value) {
	const size = Math.abs(value);
	if (size === 0 || (size >= 0.001 && size < 1e6))
		return String(Number(value.toPrecision(3))).replace("-", "−");
	const [digits, exponent] = value.toExponential(1).split("e");
	const raised = exponent
		.replace("+", "")
		.replace(/[-\d]/g, (sign) => (sign === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[sign]));
	return `${digits.replace("-", "−")}·10${raised}`;
}

/* 0.9997914 -> "99.979": cut, so that what is not whole never reads 100. */
export function percent(share, digits = 1) {
	const power = 10 ** digits;
	return (Math.floor(share * 100 * power + 1e-7) / power).toFixed(digits);
}
