// One stop for Tab in each heat-map; from there the arrow keys go from token to token.
for (const map of document.querySelectorAll(".heatmap")) {
  const tokens = [...map.querySelectorAll(".token")];
  tokens.forEach((token, index) => { token.tabIndex = index ? -1 : 0; });
  map.addEventListener("keydown", (event) => {
    const here = tokens.indexOf(document.activeElement);
    const next = { ArrowRight: here + 1, ArrowLeft: here - 1, Home: 0, End: tokens.length - 1 }[event.key];
    if (here < 0 || next === undefined || !tokens[next]) return;
    event.preventDefault();
    tokens[here].tabIndex = -1;
    tokens[next].tabIndex = 0;
    tokens[next].focus();
  });
}
