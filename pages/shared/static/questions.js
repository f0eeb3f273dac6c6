/* Takes a question back: see pages/shared/questions.py. */

export function takeBack(emptied) {
	return [{ __type__: "update", visible: false }, ...Array(emptied).fill("")];
}
