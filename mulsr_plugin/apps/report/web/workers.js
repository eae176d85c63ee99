'use strict';
// What is asked of decoding.js, which works beside the page, so that the page answers meanwhile.

const MOST_WORKERS = 4, LOOK_AGAIN_MILLISECONDS = 20;

// Characters of an element, as soon as the parser has read it to its end; it reads later scenes while the first is seen.
async function textOf(id) {
  for (;;) {
    const read = document.readyState !== 'loading', element = document.getElementById(id);
    if (element && (read || element.nextElementSibling)) return element.textContent;
    if (read) throw new Error('a part of it is missing');
    await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN_MILLISECONDS));
  }
}

class Workers {
  constructor() {
    this.url = URL.createObjectURL(new Blob([document.getElementById('decoding').textContent], { type: 'text/javascript' }));
    this.idle = [];
    this.waiting = [];
    this.count = 0;
  }

  // Result of a task, in the order of asking.
  ask(task) {
    return new Promise((resolve, reject) => {
      this.waiting.push({ task, resolve, reject });
      this.next();
    });
  }

  // Tasks that no worker has begun are never answered.
  forget() {
    this.waiting = [];
  }

  next() {
    const worker = this.waiting.length ? this.idle.pop() || this.another() : null;
    if (!worker) return;
    const { task, resolve, reject } = this.waiting.shift();
    worker.onmessage = ({ data }) => {
      this.idle.push(worker);
      if (data.error) reject(new Error(data.error));
      else resolve(data.result);
      this.next();
    };
    worker.onerror = (event) => reject(new Error(event.message || 'the browser lets no worker run'));
    worker.postMessage(task);
  }

  another() {
    if (this.count >= Math.min(MOST_WORKERS, navigator.hardwareConcurrency || 1)) return null;
    this.count++;
    return new Worker(this.url);
  }
}
