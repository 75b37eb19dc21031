// Whether this device is told while no page is open: by the browser's push service, with a subscription that the server knows as a
// device of the person. It knows nothing of the document.

const SIGN_OUT_MS = 1_000;

export class Away {
  // Set at construction.
  #client;
  #settings;
  #browser;
  #changed;

  /** The server's key, '' while it is not known or the server sends no Web Push. */
  #key = '';
  #subscription = null;
  #registration = null;
  /** Not at each connection: when a server comes back, all pages do. */
  #asked = false;
  /** What is being done; one thing at a time. */
  #doing = Promise.resolve();

  /**
   * unknown   nothing to offer: not connected yet, or a server without Web Push
   * unsupported, home-screen, denied   the browser can't, can't here, or may not
   * off, on
   */
  state = 'unknown';
  /** Why the last wish did not come true, for the person. */
  fault = '';

  /**
   * @param {object} client
   * @param {object} settings  see settings.js
   * @param {object} browser  see browserOf
   * @param {() => void} changed
   */
  constructor(client, settings, browser, changed, signal) {
    this.#client = client;
    this.#settings = settings;
    this.#browser = browser;
    this.#changed = changed;
    // Later, when the client has told its reads of the connection, else it would ask twice.
    client.on('state', ({ state }) => state === 'connected' && queueMicrotask(() => this.#asked || this.refresh()));
    browser.serviceWorker?.addEventListener('message', ({ data }) => data?.type === 'renewed' && this.refresh(), { signal });
  }

  /** What shows notifications where pages may not themselves; null without a worker. */
  get registration() {
    return this.#registration;
  }

  /** Looks how things are, and tells the server where this device is reached, which may have changed while no page was open. */
  refresh() {
    return this.#next(async () => {
      const { webPushKey = '' } = await this.#client.device();
      this.#key = webPushKey;
      this.#asked = true;
      await this.#look();
      if (this.state === 'off' && this.#wanted) await this.#subscribe();
    });
  }

  /** To be called in the event of a click: browsers ask for permission only then. */
  turnOn() {
    const asked = this.#browser.requestPermission();
    return this.#next(async () => {
      await asked;
      await this.#look();
      if (this.state === 'off') await this.#subscribe();
    });
  }

  turnOff() {
    return this.#next(() => this.#end());
  }

  /** The person is going: whoever comes next is not to be told what is theirs. Waits for the server, but not for long. */
  async signOut() {
    if (this.#settings.device === null) return;
    const late = new Promise((resolve) => setTimeout(resolve, SIGN_OUT_MS));
    await Promise.race([this.#next(() => this.#end()), late]);
    await this.seen();
  }

  /** Somebody has seen what there is, here or elsewhere: what was told before is no news. */
  async seen() {
    const shown = (await this.#registration?.getNotifications().catch(() => [])) ?? [];
    for (const notification of shown) notification.close();
  }

  /** The person wants it on this device. */
  get #wanted() {
    return this.#settings.device?.user === this.#client.user;
  }

  /** Runs one thing after the other. What fails is shown, not thrown. */
  #next(work) {
    this.#doing = this.#doing.then(async () => {
      this.fault = '';
      try {
        await work();
      } catch (error) {
        this.fault = error.message;
      }
      this.#changed();
    });
    return this.#doing;
  }

  async #look() {
    const { serviceWorker, pushes, needsHomeScreen, permission } = this.#browser;
    await this.#find();
    if (this.#key === '') this.state = 'unknown';
    else if (needsHomeScreen) this.state = 'home-screen';
    else if (!serviceWorker || !pushes) this.state = 'unsupported';
    else if (permission() === 'denied') this.state = 'denied';
    else this.state = 'off';
    if (this.#subscription !== null && !this.#wanted) await this.#unsubscribe(); // of somebody who was here before
    if (this.state === 'off' && permission() !== 'granted') this.#settings.device = null; // taken away in the browser's settings
  }

  async #find() {
    this.#registration = (await this.#browser.serviceWorker?.getRegistration()) ?? null;
    this.#subscription = (await this.#registration?.pushManager?.getSubscription()) ?? null;
  }

  async #subscribe() {
    if (this.#browser.permission() !== 'granted') return;
    this.#registration = await this.#browser.register();
    // With another key, as after the server was given one, the old subscription is of no use.
    if (this.#subscription !== null && keyOf(this.#subscription) !== this.#key) await this.#unsubscribe();
    this.#subscription ??= await this.#registration.pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: this.#key });
    const id = this.#settings.device?.id ?? this.#browser.randomId();
    try {
      await this.#client.device(id, this.#subscription.toJSON());
    } catch (error) {
      await this.#unsubscribe();
      throw error;
    }
    this.#settings.device = { id, user: this.#client.user };
    this.state = 'on';
  }

  async #end() {
    const { device } = this.#settings;
    this.#settings.device = null;
    if (this.state === 'on') this.state = 'off';
    await this.#find();
    // Without it the push service refuses what comes, so the server forgets the device in any case.
    await this.#unsubscribe();
    if (device !== null && this.#client.state === 'connected') await this.#client.device(device.id);
  }

  async #unsubscribe() {
    const ending = this.#subscription;
    this.#subscription = null;
    await ending?.unsubscribe();
  }
}

/** The key that a subscription was made with, in base64url; '' where the browser does not say. */
function keyOf({ options }) {
  if (!options?.applicationServerKey) return '';
  const binary = String.fromCharCode(...new Uint8Array(options.applicationServerKey));
  return btoa(binary).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
}

const WORKER = '/sw.js';

/** What a page's browser has for it. The policy of trusted types takes no other address for a worker than this one. */
export function browserOf(page) {
  const { navigator } = page;
  const pushes = 'PushManager' in page && 'Notification' in page;
  return {
    serviceWorker: navigator.serviceWorker,
    pushes,
    // Only browsers of iOS say whether they are standalone; they push to what was added to the Home Screen.
    needsHomeScreen: navigator.standalone === false && !pushes,
    permission: () => page.Notification?.permission ?? 'denied',
    requestPermission: () => page.Notification.requestPermission(),
    randomId: () => page.crypto.randomUUID(),
    async register() {
      await navigator.serviceWorker.register(trusted(page.trustedTypes), { type: 'module', updateViaCache: 'none' });
      return navigator.serviceWorker.ready;
    },
  };
}

let worker;

function trusted(trustedTypes) {
  // A policy of this name can be made once.
  worker ??= trustedTypes?.createPolicy('rookery-worker', { createScriptURL: () => WORKER }).createScriptURL(WORKER) ?? WORKER;
  return worker;
}
