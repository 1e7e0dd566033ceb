// A picture of this page: chosen, dropped, pasted or set by an example. It stays in this page, as a data URL, and is
// sent with the next request; Gradio's own image component would upload it to a file on the server.
const part = (name) => element.querySelector(`.mmt-${name}`);
const button = (name) => element.querySelector(`[data-do=${name}]`);

function show() {
  const url = typeof props.value === "string" && props.value.startsWith("data:") ? props.value : "";
  part("shown").hidden = !url;
  if (url) part("shown").src = url;
  else part("shown").removeAttribute("src");
  part("hint").hidden = Boolean(url);
  button("remove").hidden = !url;
}

function complain(text) {
  part("complaint").textContent = text;
}

function set(url) {
  complain("");
  props.value = url;
  show();
  trigger("change");
}

function read(file) {
  if (!file) return;
  if (!file.type.startsWith("image/")) return complain("This is not a picture.");
  if (file.size > props.most) return complain(`This picture is too large: over ${Math.floor(props.most / 1e6)} MB.`);
  const reader = new FileReader();
  reader.onload = () => set(reader.result);
  reader.onerror = () => complain("This file cannot be read.");
  reader.readAsDataURL(file);
}

const pictureOf = (list) => [...(list || [])].find((file) => file.type.startsWith("image/"));

element.addEventListener("click", async (event) => {
  const what = event.target.dataset ? event.target.dataset.do : undefined;
  if (what === "choose") part("file").click();
  if (what === "remove") {
    set("");
    button("choose").focus();
  }
  if (what === "paste") {
    try {
      for (const item of await navigator.clipboard.read()) {
        const type = item.types.find((one) => one.startsWith("image/"));
        if (type) return read(await item.getType(type));
      }
      complain("There is no picture in the clipboard.");
    } catch {
      complain("The browser does not allow that. Press Ctrl+V.");
    }
  }
});
element.addEventListener("change", (event) => {
  if (event.target !== part("file")) return;
  read(event.target.files[0]);
  event.target.value = "";
});
element.addEventListener("dragover", (event) => event.preventDefault());
element.addEventListener("drop", (event) => {
  event.preventDefault();
  read(pictureOf(event.dataTransfer.files));
});
if (props.pastes) {
  document.addEventListener("paste", (event) => {
    const file = element.isConnected && element.offsetParent && pictureOf(event.clipboardData.files);
    if (file) read(file);
  });
}
watch("value", show);
show();
element.dataset.ready = "yes";
