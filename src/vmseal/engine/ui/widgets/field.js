// A form's field: label, control, hint, and the error beside it.
export default {
  template: `
    <div class="vs-field" :class="{ 'vs-check': kind === 'checkbox' }">
      <label :for="control">{{ label }}<span v-if="required" aria-hidden="true"> *</span></label>
      <select v-if="kind === 'select'" :id="control" v-model="current" @change="tell" v-bind="shared">
        <option v-for="option in options" :key="option.value" :value="option.value">{{ option.label }}</option>
      </select>
      <textarea v-else-if="kind === 'textarea'" :id="control" v-model="current" @input="tell" rows="2"
        v-bind="shared"></textarea>
      <input v-else-if="kind === 'checkbox'" type="checkbox" :id="control" v-model="current" @change="tell"
        @keydown.enter.prevent="$emit('enter')" v-bind="shared" />
      <input v-else :type="kind" :id="control" v-model="current" @input="tell" @keydown.enter.prevent="$emit('enter')"
        autocomplete="off" spellcheck="false" v-bind="shared" />
      <p v-if="hint" class="vs-hint" :id="control + '-hint'">{{ hint }}</p>
      <p v-if="error" class="vs-error" role="alert" :id="control + '-error'">{{ error }}</p>
    </div>`,
  props: {
    kind: String,
    label: String,
    value: [String, Boolean],
    options: Array,
    hint: String,
    error: String,
    required: Boolean,
    disabled: Boolean,
    focused: Boolean,
  },
  data() {
    return { current: this.value };
  },
  computed: {
    control() {
      return this.$attrs.id + "-control";
    },
    shared() {
      const described = [this.hint && this.control + "-hint", this.error && this.control + "-error"];
      return {
        disabled: this.disabled,
        required: this.required,
        "aria-invalid": this.error ? "true" : null,
        "aria-describedby": described.filter(Boolean).join(" ") || null,
      };
    },
  },
  mounted() {
    if (this.focused) this.focus();
  },
  methods: {
    tell() {
      this.$emit("change", this.current);
    },
    set(value) {
      this.current = value;
    },
    focus() {
      document.getElementById(this.control)?.focus();
    },
  },
};
