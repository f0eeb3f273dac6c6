/* What follows the rank on the train page, until the person says otherwise. */

/* rank, alpha, name: what the fields say; own: "own" once the person has set alpha. Alpha stays
   2 · rank, and the rank at the end of a name ("pirate r8") stays the form's. */
export function followRank(rank, alpha, name, own) {
	const known = Number.isInteger(rank) && rank > 0;
	return [
		known && !own ? 2 * rank : alpha,
		known ? String(name ?? "").replace(/ r\d+$/, ` r${rank}`) : name,
	];
}

export const ownAlpha = () => ["own"];
