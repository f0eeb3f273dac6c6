/* Sets what an answer says, unless it comes too late: see pages/shared/late_answers.py. */

const KEEP = { __type__: "update" };

const same = (one, other) => JSON.stringify(one ?? null) === JSON.stringify(other ?? null);

const partsOf = (group) => document.querySelectorAll(`.${group}`);

/* What follows the fields says so while its question is on its way. */
export function dim(group) {
	for (const part of partsOf(group)) part.dataset.answer = "awaited";
	return [];
}

/* group: the class of outputs that follow all fields, or ""; places: each output's own place among
   the fields, or -1; carried: the answer; now: what the fields say. Returns what each output
   becomes. The last output of a group is the problem box. */
export function settle(group, places, carried, ...now) {
	const none = places.map(() => KEEP);
	if (!carried) return none;
	const { said, values } = JSON.parse(carried);
	const moved = now.map((value, index) => !same(value, said[index]));
	if (group && moved.includes(true)) return none;
	if (group) {
		const isRefused = Boolean(values[places.length - 1]);
		partsOf(group).forEach((part, index) => {
			part.dataset.answer = isRefused && index === 0 ? "refused" : "given";
		});
	}
	return places.map((place, index) => (index in values && !moved[place] ? values[index] : KEEP));
}
