// Looks from the server, as they come. The browser makes a lost stream anew by itself, but not one that was refused.

const AGAIN_MS = 3000;
/** No look for so long is a server that does not answer, even if the connection is there. */
const SILENT_MS = 5000;

export class Looks {
  #open;
  #told;
  #source = null;
  #silence = null;

  /**
   * @param {() => EventSource} open
   * @param {{look: (look: object) => void, lost: () => void}} told
   */
  constructor(open, told) {
    this.#open = open;
    this.#told = told;
  }

  start() {
    const source = (this.#source = this.#open());
    source.onmessage = ({ data }) => {
      this.#await();
      this.#told.look(JSON.parse(data));
    };
    source.onerror = () => {
      this.#told.lost();
      if (source.readyState === 2) setTimeout(() => this.#source === source && this.start(), AGAIN_MS);
    };
    this.#await();
  }

  stop() {
    clearTimeout(this.#silence);
    this.#source?.close();
    this.#source = null;
  }

  #await() {
    clearTimeout(this.#silence);
    this.#silence = setTimeout(() => this.#told.lost(), SILENT_MS);
  }
}
