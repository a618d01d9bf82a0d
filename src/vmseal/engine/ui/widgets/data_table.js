// A table of which the engine sends one page: searched, sorted and cut there. All data is shown as text.
export default {
  template: `
    <section class="vs-table" :aria-label="label" :aria-busy="busy ? 'true' : 'false'">
      <div class="vs-bar">
        <form v-if="searchable" role="search" class="vs-search" :aria-label="'Search in ' + label" @submit.prevent="find(text)">
          <label :for="ids.search">Search</label>
          <input type="search" :id="ids.search" v-model="text" @input="later" maxlength="4000" spellcheck="false"
            autocomplete="off" :placeholder="hint" :aria-invalid="error ? 'true' : null"
            :aria-describedby="error ? ids.error : null" />
        </form>
        <p class="vs-count" role="status">{{ counted }}</p>
      </div>
      <p v-if="error" class="vs-error" role="alert" :id="ids.error">{{ error }}</p>
      <div class="vs-scroll" :tabindex="rows.length ? 0 : null" role="group" :aria-label="label + ', table'">
        <table v-if="rows.length">
          <thead>
            <tr>
              <th v-for="column in columns" :key="column.name" scope="col" :class="column.align"
                :aria-sort="order(column)">
                <button v-if="column.sort" type="button" class="vs-sort" @click="sort(column)">
                  {{ column.label }} <span aria-hidden="true">{{ arrow(column) }}</span>
                </button>
                <template v-else>{{ column.label }}</template>
              </th>
              <th v-if="acting" scope="col">Actions</th>
            </tr>
          </thead>
          <tbody>
            <tr v-for="row in rows" :key="row.id">
              <component :is="index === 0 ? 'th' : 'td'" v-for="(cell, index) in row.cells" :key="index"
                :scope="index === 0 ? 'row' : null" :class="columns[index].align">
                <a v-if="cell.kind === 'link'" :href="cell.href">{{ cell.text }}</a>
                <span v-else-if="cell.kind === 'badge'" class="vs-badge" :class="'vs-' + cell.tone">{{ cell.text }}</span>
                <time v-else-if="cell.kind === 'moment'" :datetime="cell.iso" :title="moment(cell.iso).utc">{{
                  moment(cell.iso).local }}</time>
                <time v-else-if="cell.kind === 'age'" :datetime="cell.iso"
                  :title="moment(cell.iso).local + ' (' + moment(cell.iso).utc + ')'">{{ age(cell.iso) }}</time>
                <code v-else-if="cell.kind === 'code'">{{ cell.text }}</code>
                <span v-else-if="cell.kind === 'copy'" class="vs-copy"><code>{{ cell.text }}</code>
                  <button type="button" class="vs-small" @click="copy(cell.text)"
                    :aria-label="'Copy ' + cell.text">Copy</button></span>
                <span v-else-if="cell.kind === 'progress'" class="vs-progress">
                  <progress max="100" :value="cell.percent === null ? undefined : cell.percent"
                    :aria-label="row.title + ': ' + cell.text"></progress>
                  <a v-if="cell.href" :href="cell.href">{{ cell.text }}</a><span v-else>{{ cell.text }}</span>
                  <span v-if="cell.percent !== null">{{ cell.percent }} %</span>
                </span>
                <span v-else :title="cell.title">{{ cell.text }}</span>
              </component>
              <td v-if="acting" class="vs-actions">
                <button v-for="action in row.actions" :key="action.name" type="button" class="vs-small"
                  :class="{ 'vs-danger': action.danger }" :aria-label="action.label + ' ' + row.title"
                  @click="$emit('act', { row: row.id, action: action.name })">{{ action.label }}</button>
              </td>
            </tr>
          </tbody>
        </table>
        <div v-else class="vs-empty">
          <template v-if="asked.search">
            <p>Nothing is found.</p>
            <button type="button" class="vs-button" @click="clear">Show all</button>
          </template>
          <p v-else>{{ empty }}</p>
        </div>
      </div>
      <nav v-if="pages > 1" class="vs-pages" :aria-label="'Pages of ' + label">
        <button v-for="step in steps" :key="step.label" type="button" class="vs-small" :aria-disabled="step.to === null"
          @click="step.to !== null && ask({ page: step.to })">{{ step.label }}</button>
        <span>Page {{ asked.page }} of {{ pages }}</span>
      </nav>
    </section>`,
  props: {
    label: String,
    columns: Array,
    rows: Array,
    total: Number,
    asked: Object,
    error: String,
    empty: String,
    hint: String,
    searchable: Boolean,
    addressed: Boolean,
  },
  data() {
    return { text: this.asked.search, busy: false, timer: null };
  },
  computed: {
    ids() {
      return { search: this.$attrs.id + "-search", error: this.$attrs.id + "-error" };
    },
    acting() {
      return this.rows.some((row) => row.actions.length);
    },
    pages() {
      return Math.max(1, Math.ceil(this.total / this.asked.size));
    },
    counted() {
      if (!this.total) return "";
      const first = (this.asked.page - 1) * this.asked.size + 1;
      const last = first + this.rows.length - 1;
      return first + "–" + last + " of " + this.total;
    },
    steps() {
      const page = this.asked.page;
      return [
        { label: "First", to: page > 1 ? 1 : null },
        { label: "Previous", to: page > 1 ? page - 1 : null },
        { label: "Next", to: page < this.pages ? page + 1 : null },
        { label: "Last", to: page < this.pages ? this.pages : null },
      ];
    },
  },
  watch: {
    asked() {
      this.busy = false;
      if (!this.addressed) return;
      const { search, sort, descending, page } = this.asked;
      window.vmseal.setQuery({ search, sort, descending, page: page > 1 ? page : null });
    },
    error() {
      this.busy = false;
    },
  },
  methods: {
    moment: (iso) => window.vmseal.moment(iso),
    age: (iso) => window.vmseal.age(iso),
    copy: (text) => window.vmseal.copy(text),
    ask(changes) {
      this.busy = true;
      this.$emit("ask", { ...this.asked, ...changes });
    },
    find(text) {
      clearTimeout(this.timer);
      this.ask({ search: text.trim(), page: 1 });
    },
    later() {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.find(this.text), 100);
    },
    clear() {
      this.text = "";
      this.find("");
    },
    sort(column) {
      const same = this.asked.sort === column.sort;
      this.ask({ sort: column.sort, descending: same && !this.asked.descending, page: 1 });
    },
    order(column) {
      if (!column.sort) return null;
      if (this.asked.sort !== column.sort) return "none";
      return this.asked.descending ? "descending" : "ascending";
    },
    arrow(column) {
      return { ascending: "▲", descending: "▼" }[this.order(column)] || "";
    },
  },
};
