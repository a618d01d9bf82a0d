// How long seals took, one bar a seal in the order in which they were made, and the same as a table.
const WIDTH = 720;
const HEIGHT = 200;
const LEFT = 64;
const BOTTOM = 24;

export default {
  template: `
    <figure class="vs-plot">
      <svg :viewBox="'0 0 ' + width + ' ' + height" role="img" :aria-label="summary">
        <g v-for="line in lines" :key="line.y">
          <line :x1="left" :x2="width" :y1="line.y" :y2="line.y" class="vs-grid" />
          <text :x="left - 8" :y="line.y + 4" text-anchor="end">{{ line.text }}</text>
        </g>
        <rect v-for="bar in bars" :key="bar.id" :x="bar.x" :y="bar.y" :width="bar.width" :height="bar.height"
          class="vs-bar-of-plot"><title>{{ bar.title }}</title></rect>
        <text v-if="seals.length" :x="left" :y="height - 6">{{ day(seals[0].iso) }}</text>
        <text v-if="seals.length > 1" :x="width" :y="height - 6" text-anchor="end">{{
          day(seals[seals.length - 1].iso) }}</text>
      </svg>
      <figcaption>{{ summary }}</figcaption>
      <details>
        <summary>Show as a table</summary>
        <div class="vs-scroll" tabindex="0" role="group" aria-label="Seal durations, table">
          <table>
            <thead><tr><th scope="col">Template</th><th scope="col">Made</th><th scope="col" class="right">Seal took</th></tr></thead>
            <tbody>
              <tr v-for="seal in newest" :key="seal.id">
                <th scope="row"><a :href="'/templates/' + seal.id">{{ seal.name }}</a></th>
                <td><time :datetime="seal.iso" :title="moment(seal.iso).utc">{{ moment(seal.iso).local }}</time></td>
                <td class="right">{{ duration(seal.seconds) }}</td>
              </tr>
            </tbody>
          </table>
        </div>
      </details>
    </figure>`,
  props: { seals: Array },
  data() {
    return { width: WIDTH, height: HEIGHT, left: LEFT };
  },
  computed: {
    newest() {
      return [...this.seals].reverse();
    },
    top() {
      const longest = Math.max(1, ...this.seals.map((seal) => seal.seconds));
      const step = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600].find((one) => one * 4 >= longest) || 7200;
      return step * 4;
    },
    lines() {
      return [0, 1, 2, 3, 4].map((part) => ({ y: this.y((this.top * part) / 4), text: this.short((this.top * part) / 4) }));
    },
    bars() {
      const room = (WIDTH - LEFT) / Math.max(20, this.seals.length);
      return this.seals.map((seal, index) => ({
        id: seal.id,
        x: LEFT + index * room + room * 0.15,
        width: room * 0.7,
        y: this.y(seal.seconds),
        height: Math.max(1, HEIGHT - BOTTOM - this.y(seal.seconds)),
        title: seal.name + ": " + this.duration(seal.seconds) + ", " + this.moment(seal.iso).local,
      }));
    },
    summary() {
      const all = this.seals.map((seal) => seal.seconds).sort((one, other) => one - other);
      if (!all.length) return "No seals yet";
      const middle = all[Math.floor(all.length / 2)];
      return (
        "The latest " + all.length + " seals took " + this.duration(all[0]) + " to " +
        this.duration(all[all.length - 1]) + ", half of them at most " + this.duration(middle) + "."
      );
    },
  },
  methods: {
    moment: (iso) => window.vmseal.moment(iso),
    duration: (seconds) => window.vmseal.duration(seconds),
    day: (iso) => new Date(iso).toLocaleDateString(undefined, { dateStyle: "medium" }),
    short: (seconds) => (seconds >= 60 ? seconds / 60 + " min" : seconds + " s"),
    y: function (seconds) {
      return 8 + (HEIGHT - BOTTOM - 8) * (1 - seconds / this.top);
    },
  },
};
