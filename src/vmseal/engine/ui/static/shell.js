// What all pages need in the browser: moments in local time, copying, addresses that can be bookmarked, lost sessions.
(function () {
  "use strict";

  const local = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

  function moment(iso) {
    const date = new Date(iso);
    return { local: local.format(date), utc: date.toISOString().replace("T", " ").replace(/\.\d+Z$/, " UTC") };
  }

  function duration(seconds) {
    const whole = Math.max(0, Math.round(seconds));
    const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
    if (parts[0]) return parts[0] + " h " + parts[1] + " min";
    return parts[1] ? parts[1] + " min " + parts[2] + " s" : parts[2] + " s";
  }

  const ago = new Intl.RelativeTimeFormat(undefined, { numeric: "auto" });
  const UNITS = [["year", 31536000], ["month", 2592000], ["day", 86400], ["hour", 3600], ["minute", 60]];

  function age(iso) {
    const seconds = (Date.now() - new Date(iso).getTime()) / 1000;
    const unit = UNITS.find(([, length]) => seconds >= length);
    return unit ? ago.format(-Math.floor(seconds / unit[1]), unit[0]) : ago.format(0, "minute");
  }

  async function copy(text) {
    try {
      await navigator.clipboard.writeText(text);
    } catch (error) {
      // Without TLS browsers have no clipboard for pages, except for what is selected.
      const area = document.createElement("textarea");
      area.value = text;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    say("Copied.");
  }

  // Put a sentence into the page's status line, for a while; screen readers read it.
  let said = null;
  function say(text) {
    const line = document.getElementById("vs-status");
    if (!line) return;
    line.textContent = text;
    clearTimeout(said);
    said = setTimeout(() => (line.textContent = ""), 10000);
  }

  // Keep what a page shows in its address, so that it can be bookmarked and survives a reload.
  function setQuery(values) {
    const address = new URL(window.location.href);
    for (const [name, value] of Object.entries(values)) {
      if (value === null || value === "" || value === false) address.searchParams.delete(name);
      else address.searchParams.set(name, String(value));
    }
    window.history.replaceState(window.history.state, "", address);
  }

  function setTheme(choice) {
    const age = choice === "auto" ? 0 : 31536000;
    document.cookie = "vmseal-theme=" + choice + "; Path=/; SameSite=Lax; Max-Age=" + age;
  }

  function setDrawer(panel) {
    document.cookie = "vmseal-drawer=" + panel + "; Path=/; SameSite=Lax; Max-Age=" + (panel ? 31536000 : 0);
  }

  // A web socket is refused when the session has ended; then there is nothing to wait for.
  async function checkSession() {
    try {
      const answer = await fetch("/session", { cache: "no-store" });
      if (answer.status !== 401) return;
    } catch (error) {
      return; // the engine is not there: the socket tries again by itself
    }
    const here = window.location.pathname + window.location.search;
    window.location.assign("/sign-in?next=" + encodeURIComponent(here));
  }

  function watchSocket() {
    if (!window.socket) return void setTimeout(watchSocket, 100);
    window.socket.on("connect_error", checkSession);
    window.socket.on("disconnect", checkSession);
  }
  watchSocket();

  window.vmseal = { moment, duration, age, copy, say, setQuery, setTheme, setDrawer };
})();
