// Sets the colours before anything is drawn, so that a dark page never flashes white. A plain script: modules run later.
try {
  const chosen = localStorage.getItem("trunkline-theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  // Without storage the system's choice holds.
}
