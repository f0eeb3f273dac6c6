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

/* The form shows what the address asks for. Start looks ready from now on (train.css). */
export function filled() {
	document.body.dataset.trainForm = "filled";
	isFilled();
	return [];
}

/* Start may be pressed before that: it then waits. Until the form is filled its fields say nothing
   that could be started, and a press would be refused. */
export async function whenFilled() {
	await filling;
	return [];
}

/* A new value of the hidden part asks for the figures that are still to come. */
export function unfinished(_element, props, watch, trigger) {
	watch("value", () => {
		if (props.value) trigger("input");
	});
}
