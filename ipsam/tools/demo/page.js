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
})();
