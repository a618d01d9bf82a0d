// An id or a path, and a button that copies it.
export default {
  template: `<span class="vs-copy"><code>{{ text }}</code>
    <button type="button" class="vs-small" @click="copy" :aria-label="'Copy ' + text">Copy</button></span>`,
  props: { text: String },
  methods: {
    copy() {
      window.vmseal.copy(this.text);
    },
  },
};
