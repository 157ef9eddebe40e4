// The history: answers and small copies of pictures, in this browser's IndexedDB. Without it (a private window, storage
// switched off) the page works as well and forgets when it is closed.

const MOST = 1000; // answers that are kept; the oldest go first
const STORE = "answers";
const FIELDS = ["id", "time", "name", "size", "model", "version", "step", "answer", "thumb", "small", "judged"];

let opened;

function open() {
  opened ??= new Promise((resolve, reject) => {
    const request = indexedDB.open("jaxcls", 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: "id" });
    request.onsuccess = () => resolve(request.result);
    request.onerror = request.onblocked = () => reject(request.error);
  });
  return opened;
}

async function run(mode, action) {
  try {
    const transaction = (await open()).transaction(STORE, mode);
    const request = action(transaction.objectStore(STORE));
    return await new Promise((resolve, reject) => {
      transaction.oncomplete = () => resolve(request.result);
      transaction.onerror = transaction.onabort = () => reject(transaction.error);
    });
  } catch {
    return undefined;
  }
}

/** Entries that were kept, the newest first. */
export async function all() {
  const found = (await run("readonly", (store) => store.getAll())) ?? [];
  const ordered = found.sort((a, b) => b.id - a.id);
  for (const old of ordered.slice(MOST)) run("readwrite", (store) => store.delete(old.id));
  return ordered.slice(0, MOST);
}

export function put(entry) {
  return run("readwrite", (store) => store.put(Object.fromEntries(FIELDS.map((name) => [name, entry[name]]))));
}

export const clear = () => run("readwrite", (store) => store.clear());
