// A dialog: the browser's own, which keeps the focus inside, closes on Escape and gives the focus back.
export default {
  template: `
    <dialog ref="dialog" class="vs-dialog" :class="{ 'vs-wide': wide }" :aria-labelledby="heading" @close="$emit('close')">
      <h2 :id="heading">{{ label }}</h2>
      <slot></slot>
    </dialog>`,
  props: { label: String, wide: Boolean },
  computed: {
    heading() {
      return this.$attrs.id + "-heading";
    },
  },
  mounted() {
    this.$refs.dialog.showModal();
  },
  methods: {
    close() {
      this.$refs.dialog.close();
    },
  },
};
