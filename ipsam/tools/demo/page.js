// A picture that is pasted or dropped anywhere on the page is as good as one that was chosen. Without this, gradio takes
// it in its own box alone, and the browser leaves the page for a file dropped elsewhere.
(() => {
  const take = (files) => {
    const input = document.querySelector("#upload input[type=file]");
    if (input && files.length > 0) {
      input.files = files;
      input.dispatchEvent(new Event("change", { bubbles: true }));
    }
  };
  document.addEventListener("paste", (event) => take(event.clipboardData.files));
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    if (event.defaultPrevented) return; // gradio took it
    event.preventDefault();
    take(event.dataTransfer.files);
  });

  // In a narrow window the result stands below the upload, where nobody sees it appear: go there.
  let former = "";
  new MutationObserver(() => {
    const status = document.querySelector("#status");
    const upload = document.querySelector("#upload");
    if (!status || !upload) return;
    const result = document.querySelector("#overlay .overlay img");
    const news = result ? result.src : (status.querySelector('[role="alert"]')?.textContent ?? "");
    if (news === former) return;
    former = news;
    if (news && status.getBoundingClientRect().top >= upload.getBoundingClientRect().bottom) {
      const behavior = matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth";
      const drawn = result ? result.decode().catch(() => {}) : Promise.resolve(); // until then the page is too short
      drawn.then(() => requestAnimationFrame(() => status.scrollIntoView({ behavior, block: "start" })));
    }
  }).observe(document, { childList: true, subtree: true, characterData: true });
})();
