// Everything begins here, once the page is there.

async function start() {
  S = JSON.parse(await inflate("packed-data"));
  computeRuns();
  startTables();
  startNavigation();
  startScenarios();
  startRuns();
  startPairs();
  startProbes();
  startMistakes();
  startProbeTokens();
  startSimilarity();
  startNeurons();
  startLens();
  startStream();
  startToolbox();
  await loadPlotly();
  startTheme();
  startFigures();
  applyFilters();
  if (byId("explorer")) showRun(currentRun);
  openLinkedRun();
  document.documentElement.dataset.ready = "yes";
}

start().catch((error) => {
  const note = byId("trouble");
  note.hidden = false;
  note.textContent = `The figures could not be drawn: ${error.message}. This page needs a browser of 2023 or later.`;
  console.error(error);
});
