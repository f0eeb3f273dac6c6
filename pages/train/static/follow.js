/* What follows the rank on the train page, and what waits until the form is filled. */

/* The rank at the end of the run's name ("pirate r8") stays the form's. */
export function nameAfterRank(rank, name) {
	const known = Number.isInteger(rank) && rank > 0;
	return [known ? String(name ?? "").replace(/ r\d+$/, ` r${rank}`) : name];
}

let isFilled;
const filling = new Promise((resolve) => {
	isFilled = resolve;
});

/* The form shows what the address asks for. */
export function filled() {
	isFilled();
	return [];
}

/* Start may be pressed before that: it then waits. */
export async function whenFilled() {
	if (window.location.search) await filling;
	return [];
}
