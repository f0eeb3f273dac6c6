/* The list of adapters at the side. */

/* Bring the opened adapter into the list's own frame, and let a link keep the tab that is shown. */
export function showOpened() {
	const list = document.querySelector("#adapter-list .rs-adapters");
	if (!list) return [];
	const opened = list.querySelector('[aria-current="page"]');
	if (opened) list.scrollTop = opened.offsetTop - list.clientHeight / 2;
	list.addEventListener("click", keepTab, { capture: true });
	return [];
}

function keepTab(event) {
	const link = event.target.closest("a");
	const tab = new URL(window.location.href).searchParams.get("tab");
	if (!link || !tab || tab === "library") return;
	const url = new URL(link.href);
	url.searchParams.set("tab", tab);
	link.href = url;
}
