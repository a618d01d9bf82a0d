// A moment in the browser's time zone, UTC in the tooltip.
export default {
  template: `<time :datetime="iso" :title="shown.utc">{{ shown.local }}</time>`,
  props: { iso: String },
  computed: {
    shown() {
      return window.vmseal.moment(this.iso);
    },
  },
};
