// IMAGE URL: has each client fill a receipt's model from the image in its default way; prints the models as JSON.

import { readFile } from "node:fs/promises";

import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { HumanMessage } from "@langchain/core/messages";
import { ChatOpenAI } from "@langchain/openai";
import { generateObject, generateText, Output, streamText } from "ai";
import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

const MODEL = "PaddlePaddle/PaddleOCR-VL";
const WORDS = "Extract the receipt";

const Item = z.object({ name: z.string(), qty: z.number().nullable(), price: z.number() });
const Receipt = z.object({ merchant: z.string(), date: z.string(), total: z.number(), items: z.array(Item) });

const [path, url] = process.argv.slice(2);
const image = await readFile(path);
const uri = `data:image/png;base64,${image.toString("base64")}`;
const content = [
  { type: "text", text: WORDS },
  { type: "image_url", image_url: { url: uri } },
];
const question = (part) => [{ role: "user", content: [{ type: "text", text: WORDS }, part] }];
const messages = question({ type: "file", data: image, mediaType: "image/png" });

const openai = createOpenAI({ baseURL: url, apiKey: "none" });
const compatible = createOpenAICompatible({ name: "ours", baseURL: url, apiKey: "none" });

const langchain = new ChatOpenAI({ model: MODEL, apiKey: "none", configuration: { baseURL: url } });
const output = Output.object({ schema: Receipt });

const clients = {
  async ai_sdk() {
    return (await generateText({ model: openai.chat(MODEL), output, messages })).output;
  },

  async ai_sdk_streamed() {
    const streamed = streamText({ model: openai.chat(MODEL), output, messages });
    const parts = [];
    for await (const part of streamed.partialOutputStream) parts.push(part);
    return parts.at(-1);
  },

  async ai_sdk_object() {
    const part = { type: "image", image };
    return (await generateObject({ model: openai.chat(MODEL), schema: Receipt, messages: question(part) })).object;
  },

  // Sends no schema as such: it asks for a JSON object and puts the schema into the system message.
  async ai_sdk_compatible() {
    return (await generateText({ model: compatible(MODEL), output, messages })).output;
  },

  async langchain_js() {
    return await langchain.withStructuredOutput(Receipt).invoke([new HumanMessage({ content })]);
  },

  async langchain_js_tool() {
    const structured = langchain.withStructuredOutput(Receipt, { method: "functionCalling" });
    return await structured.invoke([new HumanMessage({ content })]);
  },

  async openai_js() {
    const completion = await new OpenAI({ baseURL: url, apiKey: "none" }).chat.completions.parse({
      model: MODEL,
      messages: [{ role: "user", content }],
      response_format: zodResponseFormat(Receipt, "receipt"),
    });
    return completion.choices[0].message.parsed;
  },
};

async function filled([name, fill]) {
  return [name, await fill().catch((error) => `${error.stack}`)];
}

console.log(JSON.stringify(Object.fromEntries(await Promise.all(Object.entries(clients).map(filled)))));
