// The choice between light and dark; the browser remembers it, the server only reads it to draw the next page right.
export default {
  template: `
    <label class="vs-theme">Theme
      <select v-model="current" @change="choose">
        <option value="auto">Auto</option>
        <option value="light">Light</option>
        <option value="dark">Dark</option>
      </select>
    </label>`,
  props: { theme: String },
  data() {
    return { current: this.theme };
  },
  mounted() {
    this.apply();
  },
  methods: {
    apply() {
      const dark = { auto: null, light: false, dark: true }[this.current];
      setTimeout(() => window.setDark(dark), 0); // after NiceGUI set the page's own
    },
    choose() {
      window.vmseal.setTheme(this.current);
      this.apply();
    },
  },
};
