// Runs before the first paint so that a chosen theme never flashes in the other one.
(function () {
  var root = document.documentElement;
  root.classList.add("js");
  var theme = null;
  try {
    theme = localStorage.getItem("theme");
  } catch (refused) {
    // A browser that forbids storage keeps following the system's theme.
    root.dataset.storage = "off";
  }
  if (theme === "light" || theme === "dark") root.dataset.theme = theme;
})();
