// What a seal removed, or would remove: per operation, searchable. Guests' paths are shown as text.
export default {
  template: `
    <div class="vs-report">
      <div class="vs-field">
        <label :for="search">Search in operations and paths</label>
        <input type="search" :id="search" v-model="text" autocomplete="off" spellcheck="false" />
      </div>
      <p role="status" class="vs-count">{{ counted }}</p>
      <details v-for="one in found" :key="one.name" :open="opened">
        <summary><b>{{ one.name }}</b> {{ one.words }}</summary>
        <p v-if="one.detail">{{ one.detail }}</p>
        <ul>
          <li v-for="path in one.paths" :key="path.path"><code>{{ path.path }}</code> {{ path.words }}</li>
        </ul>
        <p v-if="one.more">and {{ one.more }} more</p>
      </details>
    </div>`,
  props: { operations: Array },
  data() {
    return { text: "" };
  },
  computed: {
    search() {
      return this.$attrs.id + "-search";
    },
    opened() {
      return this.text.trim() !== "";
    },
    found() {
      const wanted = this.text.trim().toLowerCase();
      if (!wanted) return this.operations;
      return this.operations
        .map((one) =>
          one.name.toLowerCase().includes(wanted)
            ? one
            : { ...one, more: 0, paths: one.paths.filter((path) => path.path.toLowerCase().includes(wanted)) },
        )
        .filter((one) => one.name.toLowerCase().includes(wanted) || one.paths.length);
    },
    counted() {
      const paths = this.found.reduce((sum, one) => sum + one.paths.length + one.more, 0);
      return this.found.length + " operations, " + paths + " paths";
    },
  },
};
