"use strict";
// Runs before the page is drawn, so that it does not flash in the other colours.
try {
  const theme = localStorage.getItem("ragdecode-theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // storage is closed to this page: the system's colours it is
}
