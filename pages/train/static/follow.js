/* What follows the rank on the train page. */

/* The rank at the end of the run's name ("pirate r8") stays the form's. */
export function nameAfterRank(rank, name) {
	const known = Number.isInteger(rank) && rank > 0;
	return [known ? String(name ?? "").replace(/ r\d+$/, ` r${rank}`) : name];
}
